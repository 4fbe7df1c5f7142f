#!/usr/bin/env bash
# Counts the instructions that an aarch64 board executes per inspected image, for each kernel: the nearest
# thing to a time that can be had without a board. The counts are exact and the same on every machine.
#
#   board/cross/count.sh                   builds with build.sh --quick and counts with calibration/demo.pgp
#   board/cross/count.sh --binary FILE     this aarch64 binary
#   board/cross/count.sh PRODUCT.pgp ...   these products
#
# Needs the packages of build.sh, Debian's qemu-user (not qemu-user-static, which takes no plugins) and a C
# compiler.
set -euo pipefail

# shellcheck source=board/cross/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

binary="" products=()
while [ $# -gt 0 ]; do
    case $1 in
        --binary)
            [ $# -gt 1 ] || fail "--binary needs a value; the head of this file has the usage"
            binary=$(realpath -e "$2") || fail "$2: no such program"
            shift
            ;;
        -*) fail "unknown argument $1; the head of this file has the usage" ;;
        *) products+=("$(realpath -e "$1")") || fail "$1: no such product" ;;
    esac
    shift
done
[ ${#products[@]} -gt 0 ] || products=("$root/calibration/demo.pgp")
needs qemu-aarch64 qemu-user
needs cc gcc
[ -n "$binary" ] || binary=$("$cross_here/build.sh" --quick)
cc -Wall -Wextra -O2 -shared -fPIC -o "$cache/count.so" "$cross_here/count.c"

# run CPU KERNEL PRODUCT RUNS: instructions of the whole program.
run() {
    local found
    found=$(PARTGATE_KERNEL=$2 qemu-aarch64 -cpu "$1" -plugin "$cache/count.so" -d plugin \
        "$binary" bench "$3" --threads 1 --warmup 1 --runs "$4" --json 2>&1 >/dev/null |
        sed -n 's/^instructions \([0-9]*\)$/\1/p')
    [ -n "$found" ] || fail "$2 on $1: the program did not run, or the emulator takes no plugins"
    echo "$found"
}

# What a run of 2 images takes less than a run of 10 is 8 images: start and end are not counted.
printf '| %-20s | %-8s | %-10s | %s |\n' product kernel processor 'million instructions per image'
printf '|---|---|---|---:|\n'
for product in "${products[@]}"; do
    for pair in "cortex-a57 portable" "cortex-a57 neon" "cortex-a76 dotprod"; do
        read -r cpu kernel <<<"$pair"
        few=$(run "$cpu" "$kernel" "$product" 2)
        many=$(run "$cpu" "$kernel" "$product" 10)
        printf '| %-20s | %-8s | %-10s | %.1f |\n' "$(basename "$product")" "$kernel" "$cpu" \
            "$(awk "BEGIN { print ($many - $few) / 8e6 }")"
    done
done
