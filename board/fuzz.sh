#!/usr/bin/env bash
# Coverage-guided fuzzing of every reader: pictures, bundles, configurations, event logs, networks, tables,
# folders. The targets are those of the test suite (tests/mutated_input.rs, trainer/src/dataset/mutated.rs).
# Here their readers are instrumented, and what runs new code is changed further.
#
#   board/fuzz.sh                       ten minutes per target
#   board/fuzz.sh --seconds 3600        an hour per target
#   board/fuzz.sh --only bundles        targets with this word in the name of their test
#   board/fuzz.sh --seed 7              another start
#   board/fuzz.sh --corpus tests/mutation/corpus    also writes the smallest inputs found
#
# The usual toolchain and a C compiler are enough: LLVM's counters are part of it. A failing input is kept in the system's
# temporary folder. Called with a compiler as its first argument this file is cargo's RUSTC_WRAPPER.
set -euo pipefail

# Instrumented: the project's own crates, and those that read what comes from outside.
instrumented=" partgate partgate_train mutated_input image png tiff zune_jpeg zune_core fdeflate toml toml_parser toml_datetime
    serde_json postcard prost tract_onnx "

case ${1:-} in
    */rustc | rustc)
        name="" kind="" harness=""
        words=("$@")
        for ((i = 1; i < ${#words[@]}; i++)); do
            case ${words[i]} in
                --crate-name) name=${words[i + 1]:-} ;;
                --crate-type) kind=${words[i + 1]:-} ;;
                --test) harness=yes ;;
            esac
        done
        flags=()
        if [[ $instrumented == *[[:space:]]"$name"[[:space:]]* ]]; then
            flags=(--cfg partgate_coverage -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3
                -Cllvm-args=-sanitizer-coverage-inline-8bit-counters)
        fi
        # Whatever else an instrumented crate is linked into has nobody who counts.
        if [[ -z $harness && ($kind == bin || $kind == proc-macro) ]]; then
            flags+=("-Clink-arg=$PARTGATE_FUZZ_STUB")
        fi
        exec "$@" "${flags[@]}"
        ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
seconds=600 only="" seed=1 corpus=""
fail() { echo "error: $1" >&2; exit 2; }
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || fail "$1 needs a value; the head of this file has the usage"
    case $1 in
        --seconds) seconds=$2 ;;
        --only) only=$2 ;;
        --seed) seed=$2 ;;
        --corpus) mkdir -p "$2" && corpus=$(realpath "$2") ;;
        *) fail "unknown argument $1; the head of this file has the usage" ;;
    esac
    shift 2
done
[[ $seconds =~ ^[1-9][0-9]*$ && $seed =~ ^[0-9]+$ ]] || fail "--seconds and --seed take whole numbers"

cd "$root"
export RUSTC_WRAPPER=$root/board/fuzz.sh CARGO_TARGET_DIR=$root/target/fuzz
export PARTGATE_MUTATIONS=1000000000000 PARTGATE_MUTATION_SECONDS=$seconds PARTGATE_MUTATION_SEED=$seed
if [ -n "$corpus" ]; then export PARTGATE_MUTATION_CORPUS=$corpus; fi
mkdir -p "$CARGO_TARGET_DIR"
export PARTGATE_FUZZ_STUB=$CARGO_TARGET_DIR/uncounted.o
echo 'void __sanitizer_cov_8bit_counters_init(char *start, char *stop) { (void)start; (void)stop; }' |
    cc -x c -c -fPIC -o "$PARTGATE_FUZZ_STUB" -
tests() { cargo test --locked --workspace --exclude gate-no-std "$@"; }
for where in "--test mutated_input" "--bin partgate-train"; do
    read -r -a where <<<"$where"
    mapfile -t names < <(tests "${where[@]}" -- --list | sed -n 's/^\(.*_of_any_.*\|.*_with_any_.*\): test$/\1/p' | grep -e "$only")
    [ ${#names[@]} -eq 0 ] || tests "${where[@]}" -- --nocapture --test-threads=1 --exact "${names[@]}"
done
