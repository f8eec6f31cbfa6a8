#!/usr/bin/env bash
# test-dist.sh DIST WORK TEST_SERVER: whether what `dist.sh DIST WORK` made can be used. `make test-dist` calls it.
#
# The wheel and the source distribution are installed into empty environments. The Debian packages are installed below a folder of their own, where C and C++
# programs are built with them and publish to a server, and removed again. Nothing is installed on the machine itself.
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD dist=$(cd "$1" && pwd) work=$(cd "$2" && pwd) test_server=$(realpath "$3")

scratch=$(mktemp -d)
server_pid='' server_stdin=''
finish() {
    if [ -n "$server_pid" ]; then
        exec {server_stdin}>&- # the server runs until this ends
        wait "$server_pid" || true
    fi
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

die() { echo "test-dist: $*" >&2; exit 1; }

echo "checksums"
(cd "$dist" && sha256sum --check --quiet SHA256SUMS)
[ "$(cd "$dist" && find . -type f ! -name SHA256SUMS | wc -l)" = "$(wc -l <"$dist/SHA256SUMS")" ] || die "SHA256SUMS does not have every file"

coproc server { exec "$test_server"; }
server_pid=$server_PID server_stdin=${server[1]} server_stdout=${server[0]}
read -r url <&"$server_stdout" || die "no nats-server"
programs=0

# publishes NAME PROGRAM [ARGUMENT…]: it persists one message on the server.
publishes() {
    local said
    said=$("${@:2}" "$url") || die "$1: it ended with $?: $said"
    [[ $said == *": persisted" ]] || die "$1: it said \"$said\""
    programs=$((programs + 1))
}

# python_package NAME FILE [PIP OPTION…]
python_package() {
    echo "python: $1"
    python3 -m venv --clear "$scratch/venv"
    PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 "$scratch/venv/bin/python" -m pip install --quiet --no-index "${@:3}" "$2"
    "$scratch/venv/bin/python" -W error "$project/bindings/python/tests/empty_environment.py"
}

wheels=("$dist"/python/*.whl)
[ ${#wheels[@]} = 1 ] || die "there are ${#wheels[@]} wheels"
python_package "$(basename "${wheels[0]}")" "${wheels[0]}"
# With the crates that are there already, and with the tools' maturin.
sdist=$(echo "$dist"/python/*.tar.gz)
python3 -m venv --clear "$scratch/build"
echo "$project"/.tools/python/lib/python3*/site-packages >"$scratch/build/$(cd "$scratch/build" && echo lib/python3*/site-packages)/tools.pth"
echo "python: a wheel from $(basename "$sdist")"
PATH="$project/.tools/python/bin:$PATH" CARGO_NET_OFFLINE=true CARGO_TARGET_DIR="$work/target-sdist" \
    "$scratch/build/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-index --no-build-isolation --no-deps --wheel-dir "$scratch/wheel" "$sdist"
python_package "$(basename "$scratch"/wheel/*.whl)" "$scratch"/wheel/*.whl

debian() {
    local root=$scratch/root arch debs
    arch=$(dpkg --print-architecture)
    debs=("$dist"/debian/libackbus{0,-dev}_*_"$arch".deb)
    if command -v lintian >/dev/null; then
        echo "debian: lintian"
        # The packages are not in Debian, so no bug of Debian's asks for them.
        lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "${debs[@]}"
    else
        echo "lintian skipped: it is not installed"
    fi
    if command -v apt-get >/dev/null; then
        echo "debian: dependencies"
        local plan
        plan=$(apt-get install --simulate --no-install-recommends "${debs[@]}") || die "apt-get would not install the packages: $plan"
        [[ $plan == *"Inst libackbus-dev "* ]] || die "apt-get would do something else: $plan"
    fi

    mkdir -p "$root/var/lib/dpkg"/{info,updates}
    touch "$root/var/lib/dpkg"/{status,available}
    local dpkg=(dpkg --root="$root" --force-depends --log=/dev/null)
    if [ "$(id -u)" = 0 ]; then
        "${dpkg[@]}" --install "${debs[@]}" >"$scratch/dpkg.log" 2>&1 || die "$(cat "$scratch/dpkg.log")"
        [ "$("${dpkg[@]}" --verify libackbus0 libackbus-dev)" = "" ] || die "dpkg --verify finds differences"
    else
        echo "debian: dpkg skipped, the packages are only unpacked: this is not root"
        for deb in "${debs[@]}"; do
            dpkg-deb --extract "$deb" "$root"
        done
    fi
    local libdir
    libdir=$(dirname "$(find "$root/usr/lib" -name libackbus.so.0)")

    echo "debian: programs with pkg-config and CMake"
    for tool in pkg-config cmake; do
        command -v "$tool" >/dev/null || { echo "debian: programs skipped: $tool is not installed"; return; }
    done
    cp -r "$root/usr/share/doc/libackbus-dev/examples" "$scratch/consumer"
    PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$libdir/pkgconfig make --silent -C "$scratch/consumer" all
    {
        cmake -S "$scratch/consumer" -B "$scratch/consumer/cmake" -DCMAKE_PREFIX_PATH="$root/usr" -DCMAKE_LIBRARY_ARCHITECTURE="$(basename "$libdir")" &&
            cmake --build "$scratch/consumer/cmake"
    } >"$scratch/cmake.log" 2>&1 || die "$(cat "$scratch/cmake.log")"
    for program in "$scratch"/consumer/{,cmake/}app-{c,cpp}{,-static}; do
        LD_LIBRARY_PATH=$libdir publishes "$program" "$program"
    done

    if [ "$(id -u)" = 0 ]; then
        "${dpkg[@]}" --purge libackbus-dev libackbus0 >/dev/null
        local left
        left=$(find "$root" -path "$root/var/lib/dpkg" -prune -o ! -type d -print)
        [ "$left" = "" ] || die "the packages left: $left"
    fi
}

if [ -d "$dist/debian" ]; then
    debian
else
    echo "debian skipped: there are no packages"
fi
echo "test-dist: $programs programs published to a server"
