#!/usr/bin/env bash
# The benchmark behind `make bench`: ackbus beside the raw-socket loop that gives the limit, async-nats and nats.go, paired and interleaved in one run.
#
# Against an endpoint that acks at once, then against a real nats-server with a memory stream and a file stream. Prints Markdown to stdout, progress to stderr.
# Absolute figures move with the machine and what else it does; the ratios to the raw loop of the same round are what to read.
#
#   ACKBUS_BENCH_ROUNDS=3          rounds; in each every client runs once against each load
#   ACKBUS_BENCH_N=1000000         messages a run against the endpoint
#   ACKBUS_BENCH_N_SERVER=200000   messages a run against the server
#   ACKBUS_BENCH_SIZE=128          payload bytes
#   ACKBUS_BENCH_WINDOW=4096       messages without ack at a time
#   ACKBUS_BENCH_CLIENTS="raw …"   which clients, in this order; raw (and raw-no-id for the others without Msg-Ids) must be among them
#   ACKBUS_BENCH_LOADS="endpoint memory file"   empty: none of these clients
#   ACKBUS_BENCH_PYTHON=python     an interpreter with the package and benches/python/requirements.txt: also runs the Python clients, see benches/python
#   ACKBUS_NATS_SERVER             the server binary; else the one in .tools
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ACKBUS_BENCH_ROUNDS:-3}
n_endpoint=${ACKBUS_BENCH_N:-1000000}
n_server=${ACKBUS_BENCH_N_SERVER:-200000}
size=${ACKBUS_BENCH_SIZE:-128}
window=${ACKBUS_BENCH_WINDOW:-4096}
in_go=$(command -v go >/dev/null && echo ackbus-go ackbus-go-async nats-go || true)
in_go_no_id=$([ -z "$in_go" ] || echo nats-go-no-id)
clients=${ACKBUS_BENCH_CLIENTS:-raw ackbus-c ackbus-cpp ackbus-cpp-futures ackbus-rust async-nats $in_go raw-no-id ackbus-c-no-id async-nats-no-id $in_go_no_id}
loads=${ACKBUS_BENCH_LOADS-endpoint memory file}
python=${ACKBUS_BENCH_PYTHON:-}

target=${CARGO_TARGET_DIR:-target}
bin=$(mkdir -p "$target" && cd "$target" && pwd)/release
work=$(mktemp -d)
server_pid=
endpoint_pid=

note() { printf '%s\n' "$*" >&2; }
die() { note "bench: $*"; exit 1; }
[ -n "$in_go" ] || note 'skipped: the clients in Go: go is not installed'

finish() {
    exec 3>&- || true # the endpoint ends when its stdin closes
    [ -z "$endpoint_pid" ] || wait "$endpoint_pid" || true
    if [ -n "$server_pid" ]; then
        kill "$server_pid" 2>/dev/null || true
        wait "$server_pid" || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

build() {
    note "building (release) …"
    cargo build --release --quiet -p ackbus-bench-endpoint -p ackbus-capi
    # The program asks for the soname, cargo names the file without the version.
    ln -s "$bin/libackbus.so" "$work/libackbus.so.0"
    "${CXX:-c++}" -std=c++17 -O2 -Wall -Wextra -Iinclude benches/publish.cpp -o "$work/publish-cpp" -L"$bin" -lackbus -pthread
    if [[ $clients == *-go* ]]; then
        (cd benches/go && CGO_LDFLAGS="-L$bin" go build -o "$work/publish-go" .)
    fi
    "${CC:-cc}" -std=c11 -O2 -Wall -Wextra -Iinclude benches/publish.c -o "$work/publish" -L"$bin" -lackbus -pthread
}

start_endpoint() {
    mkfifo "$work/stdin"
    : >"$work/port"
    "$bin/ackbus-bench-endpoint" <"$work/stdin" >"$work/port" &
    endpoint_pid=$!
    exec 3>"$work/stdin"
    await "the endpoint's port" test -s "$work/port"
    endpoint=127.0.0.1:$(cat "$work/port")
}

start_server() {
    local binary=${ACKBUS_NATS_SERVER:-$(find .tools -type f -name nats-server -perm -u+x 2>/dev/null | head -n 1)}
    [ -n "$binary" ] || die "no nats-server: set ACKBUS_NATS_SERVER or install one into .tools"
    # Inherits no fd 3: it would keep the endpoint's stdin open.
    "$binary" --addr 127.0.0.1 --port -1 --jetstream --store_dir "$work/store" --ports_file_dir "$work" --log "$work/server.log" 3>&- &
    server_pid=$!
    await "the server's port" test -s "$work/$(basename "$binary")_$server_pid.ports"
    server=$(sed -E 's/.*nats:\/\/([^"]+)".*/\1/' "$work"/*.ports)
    server_version=$("$binary" --version)
}

# await WHAT COMMAND…: until the command succeeds, at most 10 s.
await() {
    local what=$1
    shift
    for _ in $(seq 100); do
        ! "$@" || return 0
        sleep 0.1
    done
    die "$what: not there after 10 s"
}

# publish CLIENT ADDRESS N
publish() {
    local arguments=("$2" bench.load "$3" "$size" "$window")
    [[ $1 != *-no-id ]] || arguments+=(--no-msg-id)
    case $1 in
        raw | raw-no-id) "$bin/ackbus-bench-raw" "${arguments[@]}" ;;
        async-nats | async-nats-no-id) "$bin/ackbus-bench-async-nats" "${arguments[@]}" ;;
        ackbus-rust | ackbus-rust-no-id) "$bin/ackbus-bench-rust" "${arguments[@]}" ;;
        ackbus-c | ackbus-c-no-id) LD_LIBRARY_PATH=$work "$work/publish" "${arguments[@]}" ;;
        ackbus-cpp) LD_LIBRARY_PATH=$work "$work/publish-cpp" "${arguments[@]}" ;;
        ackbus-cpp-futures) LD_LIBRARY_PATH=$work "$work/publish-cpp" "${arguments[@]}" --futures ;;
        ackbus-go* | nats-go*) LD_LIBRARY_PATH=$work "$work/publish-go" "${1%-no-id}" "${arguments[@]}" ;;
        *) die "unknown client $1" ;;
    esac
}

# measure LOAD ROUND CLIENT: one run, one line into $work/runs. What was acked must be in the stream.
measure() {
    local address=$endpoint n=$n_endpoint line stored
    if [ "$1" != endpoint ]; then
        address=$server n=$n_server
        "$bin/ackbus-bench-stream" "$address" fresh "$1"
    fi
    line=$(publish "$3" "$address" "$n") || die "$3 against $1 failed: $line"
    if [ "$1" != endpoint ]; then
        stored=$("$bin/ackbus-bench-stream" "$address" count)
        [ "$stored" = "$n" ] || die "$3 against $1: $n acked, but the stream holds $stored"
    fi
    note "load=$1 round=$2 $line"
    printf '%s\n' "load=$1 round=$2 $line" >>"$work/runs"
}

build
endpoint='' server='' server_version='not used'
[[ " $loads " != *" endpoint "* && -z $python ]] || start_endpoint
[[ " $loads " != *" memory "* && " $loads " != *" file "* && -z $python ]] || start_server
for load in $loads; do
    for round in $(seq "$rounds"); do
        for client in $clients; do
            measure "$load" "$round" "$client"
        done
    done
done

if [ -n "$loads" ]; then
    printf '%s rounds, interleaved; %s CPUs; %s; %s\n\n' "$rounds" "$(nproc)" "$server_version" "$(rustc --version)"
    "$bin/ackbus-bench-table" <"$work/runs"
fi
if [ -n "$python" ]; then
    # At least five rounds: interpreters vary more.
    "$python" benches/python/bench.py --endpoint "$endpoint" --server "$server" --c "$work/publish" \
        --rounds $((rounds > 5 ? rounds : 5)) --n "$n_endpoint" --n-server "$n_server" --size "$size"
fi
