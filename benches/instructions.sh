#!/usr/bin/env bash
# The script behind `make bench-instructions`: how many instructions a message costs in this tree and in an earlier commit, by thread, and the ratio.
#
# Clocks tell little on a busy machine; instructions are the same on any. They leave out the kernel, cache misses and waiting: a lower count is worth a timed
# run (`make bench`), a higher one is a regression to explain. Counted by callgrind in a build like a release, for the C API, one publishing thread, 128-byte
# payloads, Msg-Ids, a report for each message, against the endpoint that acks at once. Two runs that differ in their number of messages cancel what starting costs.
# Between equal trees the sum differs by about 1 %: valgrind runs one thread at a time, and how they take turns varies.
#
#   benches/instructions.sh [--functions] [COMMIT]
#
#   COMMIT        what to compare with: HEAD, or the commit before it if nothing was changed since
#   --functions   this tree alone, and function by function
set -euo pipefail
cd "$(dirname "$0")/.."

few=50000 many=250000 size=128 window=4096
functions=
if [ "${1:-}" = --functions ]; then
    functions=yes
    shift
fi
base=${1:-HEAD}

note() { printf '%s\n' "$*" >&2; }
die() { note "bench-instructions: $*"; exit 1; }
for tool in valgrind git; do
    command -v $tool >/dev/null || { echo "skipped: $tool is not installed"; exit 0; }
done
if [ $# = 0 ] && git diff --quiet HEAD -- src bindings/c; then
    base=HEAD^
fi
commit=$(git rev-parse --verify --quiet "$base^{commit}") || die "COMMIT is \"$base\"; it must be one of this repository's"

target=${CARGO_TARGET_DIR:-target}
target=$(mkdir -p "$target" && cd "$target" && pwd)
work=$(mktemp -d)
endpoint_pid=

finish() {
    exec 3>&- || true # the endpoint ends when its stdin closes
    [ -z "$endpoint_pid" ] || wait "$endpoint_pid" || true
    [ ! -d "$work/tree" ] || git worktree remove --force "$work/tree"
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# build NAME TREE: the library of a tree and the program that uses it, into $work/NAME.
build() {
    note "building $1 …"
    mkdir "$work/$1"
    (cd "$2" && cargo build --release --quiet -p ackbus-capi --target-dir "$target")
    cp "$target/release/libackbus.so" "$work/$1/libackbus.so.0"
    "${CC:-cc}" -std=c11 -O2 -I"$2/include" "$2/benches/publish.c" -o "$work/$1/publish" "$work/$1/libackbus.so.0" -pthread
}

start_endpoint() {
    cargo build --release --quiet -p ackbus-bench-endpoint --target-dir "$target"
    mkfifo "$work/stdin"
    : >"$work/port"
    "$target/release/ackbus-bench-endpoint" <"$work/stdin" >"$work/port" &
    endpoint_pid=$!
    exec 3>"$work/stdin"
    for _ in $(seq 100); do
        [ ! -s "$work/port" ] || return 0
        sleep 0.1
    done
    die "the endpoint: no port after 10 s"
}

# count NAME N: runs the program with N messages; one file of counts for each thread, $work/NAME/N-01 and so on.
count() {
    note "counting $1, $2 messages …"
    LD_LIBRARY_PATH=$work/$1 valgrind --tool=callgrind --separate-threads=yes --callgrind-out-file="$work/$1/$2" \
        "$work/$1/publish" "127.0.0.1:$(cat "$work/port")" bench.load "$2" $size $window >"$work/log" 2>&1 || die "$1: $(cat "$work/log")"
    [ "$(find "$work/$1" -name "$2-*" | wc -l)" = 4 ] || die "$1: not the four threads that are expected: main, report, I/O, publishing"
}

# instructions NAME: a line with what a message costs on the publishing, the I/O and the report thread. Threads are numbered as they begin.
instructions() {
    local thread
    for thread in 04 03 02; do
        awk -v n=$((many - few)) '/^totals: / { sum[FILENAME] = $2; last = FILENAME } END { for (f in sum) d += f == last ? sum[f] : -sum[f]; printf "%.0f ", d / n }' \
            "$work/$1/$few-$thread" "$work/$1/$many-$thread"
    done
}

# by_function: where this tree's instructions are, without what each function calls. Functions that were inlined count for those that they are part of.
by_function() {
    local thread name
    for thread in 04:publishing 03:I/O 02:report; do
        name=${thread#*:} thread=${thread%%:*}
        printf '\n%s thread\n' "$name"
        awk -v n=$many '
            # Names are told once, as (number) name, and then by their number.
            function known(text,   id) { id = text; sub(/\).*/, ")", id); sub(/^\([0-9]+\) ?/, "", text); if (text != "") names[id] = text; return id }
            /^fn=/ { function_id = known(substr($0, 4)) }
            /^cfn=/ { known(substr($0, 5)) }
            /^calls=/ { call = 1; next }
            /^[0-9+*-]/ && NF == 2 { if (!call) self[function_id] += $2; call = 0 }
            END { for (id in self) if (self[id] / n >= 5) printf "%7.1f  %s\n", self[id] / n, names[id] }' "$work/this/$many-$thread" | sort -rn
    done
}

tree=$PWD
if [ -z "$functions" ]; then
    git worktree add --quiet --detach "$work/tree" "$commit"
    build base "$work/tree"
fi
build this "$tree"
start_endpoint
if [ -n "$functions" ]; then
    count this $many
    by_function
    exit
fi
for name in base this; do
    count $name $few
    count $name $many
done
read -r -a before < <(instructions base; echo)
read -r -a after < <(instructions this; echo)
row() { printf '| %-10s | %8s | %8s | %5s |\n' "$1" "$2" "$3" "$(awk -v a="$2" -v b="$3" 'BEGIN { printf "%.3f", b / a }')"; }
printf 'Instructions per message, without the kernel. Before: %s\n\n' "$(git log -1 --format='%h %s' "$commit")"
printf '| %-10s | %8s | %8s | ratio |\n|------------|---------:|---------:|------:|\n' thread before now
row publishing "${before[0]}" "${after[0]}"
row I/O "${before[1]}" "${after[1]}"
row report "${before[2]}" "${after[2]}"
row all $((before[0] + before[1] + before[2])) $((after[0] + after[1] + after[2]))
