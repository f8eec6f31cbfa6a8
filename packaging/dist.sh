#!/usr/bin/env bash
# dist.sh OUT WORK: what a release consists of, made from the last commit. `make dist` calls it; OUT is made anew, WORK keeps what was built.
#
#   OUT/ackbus-VERSION.tar.gz   the sources
#   OUT/python/                 the wheel and the source distribution
#   OUT/debian/                 libackbus0, libackbus-dev, and the debug symbols
#   OUT/SHA256SUMS
#
# Everything is built from the archive of sources, so that is whole, and nothing that is not committed gets in. The same commit gives the same bytes in any folder
# at any time (reproducible.sh), with the same compilers: times are the commit's, and paths are mapped to those below.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# = 2 ] || { echo "usage: dist.sh OUT WORK" >&2; exit 2; }
mkdir -p "$1" "$2"
out=$(cd "$1" && pwd) work=$(cd "$2" && pwd)
maturin=("$PWD/.tools/python/bin/python" -m maturin)

die() { echo "dist: $*" >&2; exit 1; }

# What a tool says is of interest when it fails.
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "$1 failed"; }; }

git rev-parse --verify --quiet HEAD >/dev/null || die "this is no git checkout: the sources of a release are those of a commit"
[ -z "$(git status --porcelain)" ] || echo "dist: what is not committed is not in it:"$'\n'"$(git status --short)" >&2

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C.UTF-8 CARGO_INCREMENTAL=0
umask 022
version=$(git show HEAD:Cargo.toml | sed -n 's/^version = "\(.*\)"$/\1/p' | head -n 1)
name=ackbus-$version
tree=$work/$name
export CARGO_TARGET_DIR=$work/target

rm -rf "${out:?}"/* "$tree"
mkdir "$out/python"
git archive --format=tar --prefix="$name/" HEAD | gzip -n -9 >"$out/$name.tar.gz"
tar -xmzf "$out/$name.tar.gz" -C "$work" # -m: cargo builds again what is younger than what it built
cd "$tree"

# Where the compilers are told that sources are. The folder of a registry has a name that depends on where it is fetched from.
cargo fetch --locked --quiet
paths=("$tree=/usr/src/$name" "$CARGO_TARGET_DIR=/usr/src/target")
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    paths+=("${registry%/}=/usr/src/cargo")
done
CARGO_ENCODED_RUSTFLAGS=$(printf '\x1f--remap-path-prefix=%s' "${paths[@]}")
export CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS#$'\x1f'}
CFLAGS=$(printf ' -ffile-prefix-map=%s' "${paths[@]}") # of the C sources in crates; gcc has no way to quote a blank here
export CFLAGS=${CFLAGS# }

# Together: alone, the library would choose other features of what both need, and cargo would build that twice.
quietly cargo build --locked --release -p ackbus-capi -p ackbus-python
quietly "${maturin[@]}" build --release --locked --manifest-path bindings/python/Cargo.toml --out "$out/python"
quietly "${maturin[@]}" sdist --manifest-path bindings/python/Cargo.toml --out "$out/python"

if command -v dh >/dev/null && command -v dpkg-buildpackage >/dev/null; then
    cp -r packaging/debian debian
    debian=$(dpkg-parsechangelog --show-field Version)
    [ "${debian%-*}" = "$version" ] || die "packaging/debian/changelog is of version $debian, and Cargo.toml of $version"
    # -d: the compiler of rustup is no package.
    ACKBUS_BUILT=$CARGO_TARGET_DIR/release quietly dpkg-buildpackage --build=binary --no-sign -d
    mkdir "$out/debian"
    mv "$work"/*_"$debian"_*.deb "$out/debian"
    mv "$work/ackbus_${debian}_$(dpkg --print-architecture)".{changes,buildinfo} "$work/target"
else
    echo "dist: Debian packages skipped: debhelper is not installed"
fi

# No path of this machine may be in what others get.
inside=$work/inside
rm -rf "$inside"
mkdir "$inside"
cp "$CARGO_TARGET_DIR"/release/libackbus.{so,a} "$inside"
python3 -m zipfile --extract "$out"/python/*.whl "$inside/wheel"
tar -xzf "$out"/python/*.tar.gz -C "$inside"
for deb in "$out"/debian/*.deb; do
    [ ! -e "$deb" ] || dpkg-deb --raw-extract "$deb" "$inside/$(basename "$deb")"
done
for path in "$work" "${CARGO_HOME:-$HOME/.cargo}"; do
    files=$(grep --recursive --files-with-matches --text --fixed-strings "$path" "$inside" || true)
    [ "$files" = "" ] || die "these name $path:"$'\n'"$files"
done
rm -rf "$inside"

cd "$out"
find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS
echo "$out:"
cat SHA256SUMS
