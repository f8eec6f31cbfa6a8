#!/usr/bin/env bash
# Fuzzing with libFuzzer: needs the nightly compiler, and cargo-fuzz, which `make fuzz` installs.
#
#   scripts/fuzz.sh run SECONDS [TARGET…]   fuzzes each target (all of them) for so long, one after the other
#   scripts/fuzz.sh min [TARGET…]           adds inputs to fuzz/seeds that reach what the seeds do not
#
# What a run finds grows fuzz/corpus, which is not checked in; a failing input lands in fuzz/artifacts and the run ends. Copy it to fuzz/seeds/TARGET: then it is
# replayed by every `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.tools/cargo-fuzz/bin:$PATH"
toolchain=+${FUZZ_TOOLCHAIN:-nightly}
command=${1:?run or min}
shift
seconds=0
if [ "$command" = run ]; then
    seconds=${1:?seconds}
    shift
fi
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(basename -s .rs fuzz/fuzz_targets/*.rs | sort)

cargo "$toolchain" fuzz build
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    # Memory is bounded (P9): no single allocation is larger than what one connection may buffer, many times over.
    limits=(-malloc_limit_mb=64 -rss_limit_mb=1024 -timeout=20 -max_len=4096 -dict=fuzz/nats.dict)
    case $command in
        run)
            echo "$target: $seconds s"
            log=$(mktemp)
            if ! cargo "$toolchain" fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- "${limits[@]}" -max_total_time="$seconds" -print_final_stats=1 >"$log" 2>&1; then
                tail -60 "$log"
                exit 1
            fi
            grep -E 'stat::number_of_executed_units|stat::peak_rss_mb' "$log" | tail -2
            grep -E ' (DONE|NEW|REDUCE|pulse|INITED) ' "$log" | tail -1
            rm "$log"
            ;;
        min)
            merged=$(mktemp -d)
            cp "fuzz/seeds/$target"/* "$merged"
            cargo "$toolchain" fuzz run "$target" "$merged" "fuzz/corpus/$target" -- "${limits[@]}" -set_cover_merge=1 >/dev/null 2>&1
            # As many as are replayed in a moment; long ones say little more.
            added=0
            for file in "$merged"/*; do
                name=$(basename "$file")
                if [ ! -e "fuzz/seeds/$target/$name" ] && [ "$(stat -c %s "$file")" -le 700 ] && [ $added -lt 96 ]; then
                    cp "$file" "fuzz/seeds/$target/$name"
                    added=$((added + 1))
                fi
            done
            rm -r "$merged"
            echo "$target: $(find "fuzz/seeds/$target" -type f | wc -l) seeds, $(du -sb "fuzz/seeds/$target" | cut -f1) bytes"
            ;;
        *) echo "scripts/fuzz.sh: $command is not known; run or min" >&2 && exit 2 ;;
    esac
done
