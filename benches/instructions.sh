#!/usr/bin/env bash
# The script behind `make bench-instructions`: how many instructions a message costs in this tree and in an earlier commit, by thread. Fails if it is over 3 % more.
#
# Clocks tell little on a busy machine; instructions are the same on any. They leave out the kernel, cache misses and waiting: a lower count is worth a timed
# run (`make bench`), a higher one is a regression to explain. Counted by callgrind in a build like a release, for the C API, one publishing thread, 128-byte
# payloads, Msg-Ids, a report for each message, against the endpoint that acks at once. Two runs that differ in their number of messages cancel what starting costs.
# Between equal trees the sum differs by 0.2 %: valgrind runs one thread at a time, and how they take turns varies.
#
#   benches/instructions.sh [--functions] [COMMIT]
#
#   COMMIT        what to compare with: HEAD, or the commit before it if nothing was changed since
#   --functions   this tree alone, and function by function
#
# Exit code 1: the sum of all threads grew by more than 3 %; the functions that grew are listed by thread. 0: it did not, or the comparison was skipped, and why.
set -euo pipefail
cd "$(dirname "$0")/.."

few=50000 many=250000 size=128 window=4096
# What may grow: all threads together, in per cent. And what a function must have grown by to be listed, in instructions per message.
allowed=3 listed=2
functions=
if [ "${1:-}" = --functions ]; then
    functions=yes
    shift
fi

note() { printf '%s\n' "$*" >&2; }
die() { note "bench-instructions: $*"; exit 1; }
skip() { echo "skipped: $*"; exit 0; }
command -v valgrind >/dev/null || skip 'valgrind is not installed; on Debian: apt-get install valgrind libc6-dbg'
git rev-parse --is-inside-work-tree >/dev/null 2>&1 || skip 'this is not a git repository, so there is no earlier commit to compare with'
base=${1:-}
if [ -z "$base" ]; then
    base=HEAD
    # What goes into the library and its program; files that git does not know yet belong to it.
    [ -n "$(git status --porcelain -- src bindings/c include benches/publish.c benches/bench.h Cargo.toml Cargo.lock)" ] || base=HEAD^
fi
commit=$(git rev-parse --verify --quiet "$base^{commit}") || die "there is no commit $base here; name one of this repository's (a shallow clone has few: git fetch --unshallow)"

target=${CARGO_TARGET_DIR:-target}
target=$(mkdir -p "$target" && cd "$target" && pwd)
work=$(mktemp -d)
# The earlier commit has products of its own. In ours cargo would take them for this tree's: it names both alike, and goes by the age of the files.
tree=$target/instructions/tree
products=$target/instructions/target
endpoint_pid=

finish() {
    exec 3>&- || true # the endpoint ends when its stdin closes
    [ -z "$endpoint_pid" ] || wait "$endpoint_pid" || true
    [ ! -d "$tree" ] || git worktree remove --force "$tree"
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# build NAME TREE PRODUCTS: the library of a tree and the program that uses it, into $work/NAME.
build() {
    note "building $1 …"
    mkdir "$work/$1"
    (cd "$2" && cargo build --locked --release --quiet -p ackbus-capi --target-dir "$3")
    cp "$3/release/libackbus.so" "$work/$1/libackbus.so.0"
    "${CC:-cc}" -std=c11 -O2 -I"$2/include" "$2/benches/publish.c" -o "$work/$1/publish" "$work/$1/libackbus.so.0" -pthread
}

start_endpoint() {
    cargo build --locked --release --quiet -p ackbus-bench-endpoint --target-dir "$target"
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
    LD_LIBRARY_PATH=$work/$1 valgrind --tool=callgrind --separate-threads=yes --fair-sched=try --callgrind-out-file="$work/$1/$2" \
        "$work/$1/publish" "127.0.0.1:$(cat "$work/port")" bench.load "$2" $size $window 3>&- >"$work/log" 2>&1 || die "$1: $(cat "$work/log")"
    [ "$(find "$work/$1" -name "$2-*" | wc -l)" = 4 ] || die "$1: not the four threads that are expected: main, report, I/O, publishing"
}

# Threads are numbered as they begin.
threads=(04:publishing 03:I/O 02:report)

# instructions NAME: what a message costs on each of these threads.
instructions() {
    local thread
    for thread in "${threads[@]}"; do
        awk -v n=$((many - few)) '/^totals: / { sum[FILENAME] = $2; last = FILENAME } END { for (f in sum) d += f == last ? sum[f] : -sum[f]; printf "%.0f ", d / n }' \
            "$work/$1/$few-${thread%%:*}" "$work/$1/$many-${thread%%:*}"
    done
}

# by_function FILE N: what each function of a thread costs a message, without what it calls. Functions that were inlined count for those that they are part of.
by_function() {
    awk -v n="$2" '
        # Names are told once, as (number) name, and then by their number.
        function known(text,   id) { id = text; sub(/\).*/, ")", id); sub(/^\([0-9]+\) ?/, "", text); if (text != "") names[id] = text; return id }
        /^fn=/ { function_id = known(substr($0, 4)) }
        /^cfn=/ { known(substr($0, 5)) }
        /^calls=/ { call = 1; next }
        /^[0-9+*-]/ && NF == 2 { if (!call) self[function_id] += $2; call = 0 }
        # What calls itself is told by depth.
        END { for (id in self) { name = names[id]; sub(/\x27[0-9]+$/, "", name); sum[name] += self[id] } for (name in sum) printf "%.1f\t%s\n", sum[name] / n, name }' "$1"
}

# grown: the functions that cost more than before, by thread, the worst first.
grown() {
    local thread list
    for thread in "${threads[@]}"; do
        # One that has another name now is new: read the list together with the code.
        list=$(awk -F '\t' -v least="$listed" 'NR == FNR { before[$2] = $1; next } { more = $1 - before[$2]; if (more >= least) printf "%+8.1f  (%.1f, was %.1f)  %s\n", more, $1, before[$2], $2 }' \
            <(by_function "$work/base/$many-${thread%%:*}" $many) <(by_function "$work/this/$many-${thread%%:*}" $many) | sort -rn | sed -n 1,12p)
        [ -z "$list" ] || printf '\n%s thread, functions that grew by %s instructions or more:\n%s\n' "${thread#*:}" "$listed" "$list"
    done
}

if [ -z "$functions" ]; then
    # One that a killed run left behind, or `make clean` took away.
    [ ! -d "$tree" ] || git worktree remove --force "$tree"
    git worktree prune
    git worktree add --quiet --detach "$tree" "$commit"
    build base "$tree" "$products"
fi
build this "$PWD" "$target"
start_endpoint
if [ -n "$functions" ]; then
    count this $many
    for thread in "${threads[@]}"; do
        printf '\n%s thread\n' "${thread#*:}"
        by_function "$work/this/$many-${thread%%:*}" $many | awk -F '\t' '$1 >= 5 { printf "%7.1f  %s\n", $1, $2 }' | sort -rn
    done
    exit
fi
for name in base this; do
    count $name $few
    count $name $many
done
read -r -a before < <(instructions base; echo)
read -r -a after < <(instructions this; echo)
sum_before=$((before[0] + before[1] + before[2])) sum_after=$((after[0] + after[1] + after[2]))
row() { printf '| %-10s | %8s | %8s | %5s |\n' "$1" "$2" "$3" "$(awk -v a="$2" -v b="$3" 'BEGIN { printf "%.3f", b / a }')"; }
printf 'Instructions per message, without the kernel. Before: %s\n\n' "$(git log -1 --format='%h %s' "$commit")"
printf '| %-10s | %8s | %8s | ratio |\n|------------|---------:|---------:|------:|\n' thread before now
row publishing "${before[0]}" "${after[0]}"
row I/O "${before[1]}" "${after[1]}"
row report "${before[2]}" "${after[2]}"
row all $sum_before $sum_after
if ((sum_after * 100 > sum_before * (100 + allowed))); then
    grown
    printf '\n'
    die "a message costs $sum_after instructions, $((sum_after - sum_before)) more than in $(git log -1 --format=%h "$commit"); up to $allowed % more is allowed"
fi
