#!/usr/bin/env bash
# Checks the aarch64 build under user-mode emulation against the build of this machine: the self-test of
# a bundle, scores of the same pictures, and the runtime's unit tests.
#
#   board/cross/check.sh                     builds both and compares
#   board/cross/check.sh --binary FILE       this aarch64 binary instead of build.sh --quick
#   board/cross/check.sh --reference FILE    this machine's binary instead of a release build
#   board/cross/check.sh --tests no          without the unit tests
#
# Needs the packages of build.sh and Debian's qemu-user-static. The last line is "N passed, N failed".
set -euo pipefail

# shellcheck source=board/cross/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Scores are sums of thousands of products of floats. Their order and rounding differ between instruction
# sets, and rounding to 8 bits makes whole steps of that. A bundle allows its golden images twice as much
# on a board.
tolerance=1e-2
binary="" reference="" tests=yes
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || fail "$1 needs a value; the head of this file has the usage"
    case $1 in
        --binary) binary=$(realpath -e "$2") || fail "$2: no such program" ;;
        --reference) reference=$(realpath -e "$2") || fail "$2: no such program" ;;
        --tests) tests=$2 ;;
        *) fail "unknown argument $1; the head of this file has the usage" ;;
    esac
    shift 2
done
needs qemu-aarch64-static qemu-user-static
[ -n "$binary" ] || binary=$("$cross_here/build.sh" --quick)
if [ -z "$reference" ]; then
    (cd "$root" && cargo build --locked --release --features v4l2 >&2)
    reference=${CARGO_TARGET_DIR:-$root/target}/release/partgate
fi
(cd "$root/board/vm/plant" && cargo build --locked --release --target-dir "$cache/plant" >&2)
plant=$cache/plant/release/plant

work=$(mktemp -d "$cache/check.XXXXXX")
trap 'rm -rf "$work"' EXIT
bundle=$root/calibration/demo.pgp
passed=0 failed=0
# try WORDS COMMAND ARGS: runs one check and prints the seconds that it took.
try() {
    local words=$1 began=$SECONDS outcome=ok
    shift
    "$@" || outcome=FAILED
    if [ $outcome = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    printf '%-7s %s (%d s)\n' $outcome "$words" $((SECONDS - began))
}

try "self-test of $(basename "$bundle")" qemu-aarch64-static "$binary" selftest "$bundle"

"$reference" render "$work/rendered" --train 0 --test 6 --per-defect 1 --seed 11 >&2
# score FILE PROGRAM...: the program's scores of every rendered part.
score() {
    local to=$1
    shift
    (cd "$work/rendered/test" && "$@" score --threads 1 "$bundle" ./*/*.png) > "$to"
}
score "$work/here.jsonl" "$reference"
try "rendered parts inspected" score "$work/there.jsonl" qemu-aarch64-static "$binary"
try "scores are those of $(uname -m)" "$plant" compare "$work/here.jsonl" "$work/there.jsonl" $tolerance

if [ "$tests" = yes ]; then
    export CARGO_TARGET_DIR=$root/target/cross
    cd "$root"
    # The emulator returns ENOSYS for a camera's ioctls; a kernel returns ENOTTY.
    try "unit tests" cross_cargo test --profile emulated --features v4l2 --lib -- \
        --skip what_is_no_camera_is_told_with_the_fix --skip something_that_is_no_camera
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
