#!/usr/bin/env bash
# The demonstration behind `make demo`, which builds and installs what this needs.
#
#   scripts/demo.sh PUBLISH_LINES TEST_SERVER FILE
#
# Starts a nats-server, publishes the file's lines with the C example, reads the stream back with an independent client, and compares the two byte for byte.
set -euo pipefail

publish_lines=$1 test_server=$2 file=$3
stream=AIRPORTS topic=airports.rows
least=10000

work=$(mktemp -d)
server_pid='' server_stdin=''

finish() {
    if [ -n "$server_pid" ]; then
        exec {server_stdin}>&- # the server runs until this ends
        wait "$server_pid" || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

rows=$(wc -l <"$file")
if [ "$rows" -lt "$least" ]; then
    echo "demo: $file has $rows rows; this needs at least $least" >&2
    exit 1
fi

coproc server { exec "$test_server"; }
# Bash forgets the coprocess's variables when it ends early.
server_pid=$server_PID server_stdin=${server[1]} server_stdout=${server[0]}
read -r url <&"$server_stdout" || { echo "demo: no nats-server" >&2; exit 1; }

echo "publishing the $rows rows of $(basename "$file") to $topic on $url, into a stream that is created on the way:"
if ! "$publish_lines" "$url" "$topic" "topic:airports.>:stream=$stream" 'topic:airports.>:create=if_missing' <"$file" >"$work/figures"; then
    tail -n 20 "$work/figures" >&2
    echo "demo: not all rows are persisted" >&2
    exit 1
fi
sed 's/^/  /' "$work/figures"

"$test_server" read "$url" "$stream" >"$work/stored"
stored=$(wc -l <"$work/stored")
if ! cmp "$file" "$work/stored" >&2; then
    echo "demo: the file has $rows rows, the stream $stored messages, and they differ" >&2
    exit 1
fi
rate=$(sed -nE '1s/.* ([0-9]+) lines\/s$/\1/p' "$work/figures")
echo "both agree: $rows rows in the file, $stored messages in the stream, the same bytes in the same order; ${rate:-?} rows/s, each acknowledged"
