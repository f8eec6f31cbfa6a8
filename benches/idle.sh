#!/usr/bin/env bash
# The script behind `make bench-idle`: what publishers cost that have nothing to do, one and a thousand of them in a process. Prints Markdown to stdout.
#
#   ACKBUS_BENCH_SECONDS=10   how long they idle
#   ACKBUS_NATS_SERVER        the server binary; else the one in .tools
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${ACKBUS_BENCH_SECONDS:-10}
many=1000
target=${CARGO_TARGET_DIR:-target}
bin=$(mkdir -p "$target" && cd "$target" && pwd)/release
work=$(mktemp -d)
server_pid=

note() { printf '%s\n' "$*" >&2; }
die() { note "bench-idle: $*"; exit 1; }

finish() {
    if [ -n "$server_pid" ]; then
        kill "$server_pid" 2>/dev/null || true
        wait "$server_pid" || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_server() {
    local binary=${ACKBUS_NATS_SERVER:-.tools/nats-server/bin/nats-server}
    [ -x "$binary" ] || die "no nats-server: run make server, or name one with ACKBUS_NATS_SERVER"
    "$binary" --addr 127.0.0.1 --port -1 --jetstream --store_dir "$work/store" --ports_file_dir "$work" --log "$work/server.log" &
    server_pid=$!
    for _ in $(seq 100); do
        [ ! -s "$work/$(basename "$binary")_$server_pid.ports" ] || break
        sleep 0.1
    done
    server=$(sed -E 's/.*nats:\/\/([^"]+)".*/\1/' "$work"/*.ports) || die "the server's port: not there after 10 s"
    server_version=$("$binary" --version)
}

# A publisher has five descriptors at most, and both ends of the connections are on this machine, in two processes.
ulimit -n $((many * 5 + 100)) 2>/dev/null || die "$many publishers need $((many * 5 + 100)) file descriptors, and ulimit -n allows $(ulimit -Hn)"
note 'building (release) …'
cargo build --locked --release --quiet -p ackbus-bench-endpoint
start_server
"$bin/ackbus-bench-stream" "$server" fresh memory

cat <<END
$seconds s of idling after one message through each publisher; $(nproc) CPUs; $server_version; $(rustc --version).
Each column is for one publisher: the process with all of them, less what it was before, through their number.

| backend | reports by | publishers | threads | descriptors | resident KiB | open, ms | close, ms | wake-ups/s | CPU % |
|---------|-----------|-----------:|--------:|------------:|-------------:|---------:|----------:|-----------:|------:|
END
for servers in "nats://$server" memory:; do
    for mode in callback poll; do
        for count in 1 $many; do
            "$bin/ackbus-bench-idle" "$servers" "$count" "$seconds" $mode
        done
    done
done
