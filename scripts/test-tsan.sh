#!/usr/bin/env bash
# tests/c/threads.c and the library under ThreadSanitizer. See tests/c/tsan.supp for what it cannot see.
#
# The library is built as an archive by the nightly compiler with -Zsanitizer=thread and linked with that compiler's own runtime, so both halves are of one LLVM.
# Without the standard library's sources that library itself is not instrumented, hence the flag about the ABI; ThreadSanitizer changes none.
set -euo pipefail
cd "$(dirname "$0")/.."
toolchain=+${TSAN_TOOLCHAIN:-nightly}
host=$(rustc -vV | sed -n 's/^host: //p')
if ! cargo "$toolchain" --version >/dev/null 2>&1; then
    echo "skipped: ThreadSanitizer: no nightly compiler; rustup toolchain install nightly, or name one with TSAN_TOOLCHAIN"
    exit 0
fi
runtime=$(rustc "$toolchain" --print sysroot)/lib/rustlib/$host/lib/librustc-nightly_rt.tsan.a
if [ ! -e "$runtime" ]; then
    echo "skipped: ThreadSanitizer: the nightly compiler has no runtime for $host"
    exit 0
fi
target=${CARGO_TARGET_DIR:-$PWD/target}
RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg ackbus_tsan" \
    cargo "$toolchain" rustc --locked -p ackbus-capi --lib --crate-type staticlib --target "$host" --target-dir "$target/tsan"
program=$target/tsan/threads
${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror -O1 -g -fsanitize=thread -Iinclude -c tests/c/threads.c -o "$program.o"
${CC:-cc} "$program.o" "$target/tsan/$host/debug/libackbus.a" -Wl,--whole-archive "$runtime" -Wl,--no-whole-archive -o "$program" -lpthread -ldl -lm -lrt -lgcc_s
# The instrument itself: a program without it would find nothing either.
[ "$(nm "$program" | grep -c ' T __tsan_init$')" = 1 ] || { echo "scripts/test-tsan.sh: there is no ThreadSanitizer in the program" >&2; exit 1; }

export TSAN_OPTIONS="halt_on_error=0 exitcode=66 history_size=4 suppressions=$PWD/tests/c/tsan.supp ${TSAN_OPTIONS:-}"
echo "in memory"
"$program"
echo "against a server"
cargo build --locked --quiet --workspace --exclude ackbus-python --bin ackbus-test-server
coproc test_server { exec "$target/debug/ackbus-test-server"; }
read -r url <&"${test_server[0]}"
"$program" "$url"
