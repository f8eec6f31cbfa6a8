#!/usr/bin/env bash
# reproducible.sh DIST WORK: whether another folder, another time and another environment give the bytes that `dist.sh DIST WORK` made. `make test-reproducible`
# calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
dist=$(cd "$1" && pwd) work=$(cd "$2" && pwd)

again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
trap 'exit 130' INT TERM

# A longer path, another zone, another language, other rights. dist.sh must not care.
other=$again/a/folder/elsewhere
(umask 077 && mkdir -p "$other" && TZ=Pacific/Kiritimati LANG=C LC_ALL=C packaging/dist.sh "$other/dist" "$other/work" >/dev/null)

list() { (cd "$1" && find . -type f -printf '%P\n' | LC_ALL=C sort); }
diff <(list "$dist") <(list "$other/dist") || { echo "reproducible: there are other files" >&2; exit 1; }

differ=0
# compare NAME FILE FILE
compare() {
    if cmp --quiet "$2" "$3"; then
        echo "same: $1"
    else
        differ=$((differ + 1))
        echo "differs: $1" >&2
        ! command -v diffoscope >/dev/null || diffoscope --max-report-size 4000 "$2" "$3" >&2 || true
    fi
}
while read -r file; do
    compare "$file" "$dist/$file" "$other/dist/$file"
done < <(list "$dist")
for library in libackbus.so libackbus.a; do
    compare "$library" "$work/target/release/$library" "$other/work/target/release/$library"
done
[ "$differ" = 0 ] || { echo "reproducible: $differ files differ" >&2; exit 1; }
