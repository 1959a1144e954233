#!/usr/bin/env bash
#
# Gives the fuzz targets to libFuzzer: `make fuzz FUZZ_SECONDS=600 FUZZ_TARGETS="elf walk"`.
#
#   FUZZ_SECONDS   time for each target (default 60)
#   FUZZ_TARGETS   which targets (default: all)
#   FUZZ_ASAN      1: with AddressSanitizer, for the unsafe code of dependencies
#
# It leaves behind, below target/fuzz:
#
#   corpus/TARGET     inputs that reached something new; the next run goes on from them
#   artifacts/TARGET  findings, one input a file
#   logs/TARGET.log   what libFuzzer said
#
# Exit status 0 when nothing was found, 1 when something was, 2 when it could not be tried.

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly OUT=$PWD/target/fuzz
readonly SECONDS_EACH=${FUZZ_SECONDS:-60}
# What one process may take, corpus and libFuzzer's own tables included. What one input may take is less
# (targets/mod.rs).
readonly RSS_MIB=512
# What one input may take on the clock. Of processor time it may take much less (lib.rs); this is for
# one that waits for something, on a machine that may be busy with other things.
readonly INPUT_SECONDS=300
readonly INPUT_BYTES=8192

say() { printf '[fuzz] %s\n' "$*"; }
fail() {
    printf '[fuzz] error: %s\n' "$*" >&2
    exit 2
}

# Coverage instrumentation by the flags that stable Rust has. With --target they do not concern what
# runs at build time.
build() {
    local flags='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
    flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
    flags+=' -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares'
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    BUILD=$OUT/build
    if [[ ${FUZZ_ASAN:-0} == 1 ]]; then
        # The sanitizer comes with stable Rust, but the flag for it is not stable.
        export RUSTC_BOOTSTRAP=1
        flags+=' -Zsanitizer=address'
        BUILD=$OUT/build-asan
    fi
    RUSTFLAGS=$flags cargo build --manifest-path tests/fuzz/Cargo.toml --release --bins \
        --target "$host" --target-dir "$BUILD" || fail 'the targets do not build (see above)'
    BIN=$BUILD/$host/release
}

# Seeds of its own, and real objects from the interpreters that are here.
seed() {
    local target=$1 corpus=$2 python
    "$BIN/seeds" "$target" "$corpus"
    for python in target/interpreters/bin/python3.{14,15}; do
        if [[ -x $python ]]; then "$python" tests/fuzz/seeds.py "$target" "$corpus"; fi
    done
}

# Prints a line of figures from the end of a log.
figures() {
    local log=$1 name
    for name in number_of_executed_units slowest_unit_time_sec peak_rss_mb; do
        sed -n "s/^stat::$name: */$name /p" "$log" | tail -n 1
    done | tr '\n' ' '
    sed -n 's/.* \(cov: [0-9]*\) .*/\1/p' "$log" | tail -n 1
}

# Fuzzes one target; says whether nothing was found.
fuzz() {
    local target=$1 status=0 log=$OUT/logs/$1.log
    mkdir -p "$OUT"/{corpus,artifacts}/"$target" "$OUT/logs"
    seed "$target" "$OUT/corpus/$target"
    say "$target: $SECONDS_EACH s"
    RUST_BACKTRACE=1 ASAN_OPTIONS=quarantine_size_mb=16:detect_leaks=0 "$BIN/$target" \
        -max_total_time="$SECONDS_EACH" -timeout="$INPUT_SECONDS" -rss_limit_mb="$LIMIT_MIB" \
        -max_len="$INPUT_BYTES" -use_value_profile=1 -print_final_stats=1 -reload=0 \
        -artifact_prefix="$OUT/artifacts/$target/" "$OUT/corpus/$target" >"$log" 2>&1 || status=$?
    if ((status != 0)); then
        say "$target: FINDING (status $status)"
        grep -E -A 3 'panicked at|ERROR: |memory allocation of|Test unit written' "$log" | sed 's/^/    /'
        say "  again: $BIN/$target FILE     (log: $log)"
        return 1
    fi
    say "$target: nothing found; $(figures "$log")"
}

main() {
    command -v cargo >/dev/null || fail 'Rust is missing: see https://rustup.rs'
    command -v c++ >/dev/null || fail 'a C++ compiler is missing: apt-get install build-essential'
    build
    LIMIT_MIB=$RSS_MIB
    # Its shadow memory and its queue of freed memory.
    if [[ ${FUZZ_ASAN:-0} == 1 ]]; then LIMIT_MIB=$((RSS_MIB * 3)); fi
    local targets known target found=''
    known=$("$BIN/seeds")
    targets=${FUZZ_TARGETS:-$known}
    for target in $targets; do
        grep -qx -- "$target" <<<"$known" || fail "no target $target; there are:" $known
    done
    for target in $targets; do
        fuzz "$target" || found+=" $target"
    done
    if [[ -n $found ]]; then
        say "findings in:$found (inputs: $OUT/artifacts)"
        exit 1
    fi
}

main "$@"
