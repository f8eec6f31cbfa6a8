#!/usr/bin/env bash
# install.sh install|uninstall: libackbus, its headers, its pkg-config files, its CMake package and its licence. `make install` calls it.
#
#   PREFIX=/usr/local      LIBDIR=$PREFIX/lib      INCLUDEDIR=$PREFIX/include      DOCDIR=$PREFIX/share/doc/ackbus
#   DESTDIR=               put in front of every path written, and into none of the files: for packages
#   BUILT=target/release   where the libraries are
#
# Plain install(1), because cargo-c, which does such things, takes minutes to build and knows neither C++ headers nor CMake packages.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
includedir=${INCLUDEDIR:-$prefix/include}
docdir=${DOCDIR:-$prefix/share/doc/ackbus}
built=${BUILT:-target/release}
root=${DESTDIR:-}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
abi=$(sed -n 's/^#define ACKBUS_ABI_VERSION //p' include/ackbus.h)

die() { echo "install: $*" >&2; exit 1; }

for path in "$prefix" "$libdir" "$includedir" "$docdir"; do
    [[ $path == /* ]] || die "\"$path\" is no absolute path; programs would look for it in their own folder"
done

headers() { (cd include && find ackbus.h ackbus.hpp ackbus -name '*.h' -o -name '*.hpp' | sort); }

# Every file that is installed, without the prefix.
files() {
    headers | sed "s|^|$includedir/|"
    printf "$libdir/%s\n" libackbus.a libackbus.so "libackbus.so.$abi" "libackbus.so.$version" \
        pkgconfig/ackbus.pc pkgconfig/ackbus-static.pc cmake/ackbus/ackbus-config.cmake cmake/ackbus/ackbus-config-version.cmake
    printf '%s\n' "$docdir/LICENSE"
}

# fill TEMPLATE FILE
fill() {
    install -d "$root$(dirname "$2")"
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@LIBDIR@|$libdir|g" -e "s|@INCLUDEDIR@|$includedir|g" -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" \
        -e "s|@INCLUDEDIR_FROM_LIBDIR@|$(realpath -m --relative-to="$libdir" "$includedir")|g" -e "s|@POINTER_SIZE@|$(($(getconf LONG_BIT) / 8))|g" \
        "$1" >"$root$2"
    chmod 644 "$root$2"
}

install_all() {
    for library in libackbus.so libackbus.a; do
        [ -e "$built/$library" ] || die "$built/$library is not there: make build"
    done
    while read -r header; do
        install -D -m 644 "include/$header" "$root$includedir/$header"
    done < <(headers)
    install -d "$root$libdir"
    install -m 755 "$built/libackbus.so" "$root$libdir/libackbus.so.$version"
    ln -sf "libackbus.so.$version" "$root$libdir/libackbus.so.$abi"
    ln -sf "libackbus.so.$abi" "$root$libdir/libackbus.so"
    install -m 644 "$built/libackbus.a" "$root$libdir/libackbus.a"
    fill bindings/c/ackbus.pc.in "$libdir/pkgconfig/ackbus.pc"
    fill bindings/c/ackbus-static.pc.in "$libdir/pkgconfig/ackbus-static.pc"
    fill bindings/c/cmake/ackbus-config.cmake.in "$libdir/cmake/ackbus/ackbus-config.cmake"
    fill bindings/c/cmake/ackbus-config-version.cmake.in "$libdir/cmake/ackbus/ackbus-config-version.cmake"
    install -D -m 644 LICENSE "$root$docdir/LICENSE"
    echo "installed ackbus $version in $root$prefix"
}

uninstall_all() {
    while read -r file; do
        rm -f "$root$file"
    done < <(files)
    # Ours alone; others' folders stay.
    rmdir "$root$includedir/ackbus" "$root$libdir/cmake/ackbus" "$root$docdir" 2>/dev/null || true
    echo "removed ackbus $version from $root$prefix"
}

case ${1:-} in
    install) install_all ;;
    uninstall) uninstall_all ;;
    *) die "usage: install.sh install|uninstall" ;;
esac
