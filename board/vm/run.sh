#!/usr/bin/env bash
# The test machine: boots a stock Debian kernel under qemu with a virtual camera and virtual GPIO. It runs
# `partgate run` in it, with a plant that knows the expected result of every part.
#
#   board/vm/run.sh                     builds the release binary and tests it
#   board/vm/run.sh --binary FILE       tests this binary: static, or with libraries of this machine
#   board/vm/run.sh --arch aarch64      for this architecture, with the binary of board/cross/build.sh
#   board/vm/run.sh --task devices      only the devices, without partgate
#   board/vm/run.sh --task score        compares `partgate score` inside and outside the test machine
#   board/vm/run.sh --task test --binary FILE
#                                       the ignored tests of a test program, as cargo builds it:
#                                       `cargo test --test gpio_sim --no-run` prints its path
#
# The expected results come from `partgate score` outside the test machine: from --reference FILE or, on
# x86_64, from the same binary. The test machine needs Debian's qemu-system-x86 (aarch64:
# qemu-system-arm), gcc, make and xz-utils, but no network, no root and no hardware virtualisation. The
# console goes to standard output and to target/board/ARCH-TASK.log. Exit code 0 if everything passed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PARTGATE_CACHE:-$root/target/board}
# shellcheck source=board/vm/debian.sh
source "$here/debian.sh"

arch=x86_64 task=line binary="" reference="" seconds=${PARTGATE_VM_SECONDS:-540}
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || fail "$1 is unknown or needs a value; the head of this file has the usage"
    case $1 in
        --arch) arch=$2 ;;
        --binary) binary=$(realpath -e "$2") || fail "$2: no such program" ;;
        --reference) reference=$(realpath -e "$2") || fail "$2: no such program" ;;
        --task) task=$2 ;;
        *) fail "unknown argument $1; the head of this file has the usage" ;;
    esac
    shift 2
done
case $arch in
    x86_64)
        needs qemu-system-x86_64 qemu-system-x86
        # Newer processors have wider vectors, whose emulation takes twice as long.
        qemu=(qemu-system-x86_64 -machine q35 -cpu Nehalem)
        debian=amd64 console=ttyS0
        ;;
    aarch64)
        needs qemu-system-aarch64 qemu-system-arm
        qemu=(qemu-system-aarch64 -machine virt -cpu cortex-a72)
        debian=arm64 console=ttyAMA0
        ;;
    *) fail "architecture $arch: x86_64 and aarch64 are known" ;;
esac
mkdir -p "$cache"
machine=$("$here/kernel.sh" "$debian")

# The plant, built for the test machine and for this machine, where it prepares the parts.
plant_for() {
    local target=$1-unknown-linux-gnu
    if [ "$1" = "$(uname -m)" ]; then
        RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target "$target" \
            --manifest-path "$here/plant/Cargo.toml" --target-dir "$cache/plant" >&2
    else
        "$root/board/cross/build.sh" --plant "$cache/plant-cross" >&2
        ln -sfn "../plant-cross/$target" "$cache/plant/$target"
    fi
}
plant_for "$(uname -m)"
[ "$arch" = "$(uname -m)" ] || plant_for "$arch"
plant_out=$cache/plant/$(uname -m)-unknown-linux-gnu/release/plant
plant_in=$cache/plant/$arch-unknown-linux-gnu/release/plant
work=$(mktemp -d "$cache/$arch.XXXXXX")
trap 'rm -rf "$work"' EXIT
disk=$work/disk
mkdir -p "$disk/parts" "$disk/bin" "$disk/etc" "$disk/modules"

# add_program FILE NAME: copies a program and the libraries that it is linked to.
add_program() {
    local library
    install -m 755 "$1" "$disk/bin/$2"
    { ldd "$1" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
        install -D "$library" "$disk$library"
    done
}

case $task in
    line | score | devices) ;;
    test) [ -n "$binary" ] || fail "--task test needs --binary FILE, a test program" ;;
    *) fail "task $task: line, score, devices and test are known" ;;
esac
if [ "$task" != devices ]; then
    if [ -z "$binary" ]; then
        if [ "$arch" = "$(uname -m)" ]; then
            (cd "$root" && cargo build --locked --release --features v4l2 >&2)
            binary=${CARGO_TARGET_DIR:-$root/target}/release/partgate
        else
            binary=$("$root/board/cross/build.sh")
        fi
    fi
    [ -x "$binary" ] || fail "$binary is not a program"
    add_program "$binary" partgate
fi
if [ "$task" = line ] || [ "$task" = score ]; then
    if [ -z "$reference" ]; then
        [ "$arch" = "$(uname -m)" ] || fail "--reference FILE is needed: a partgate of this machine, which gives the expected results"
        reference=$binary
    fi
    [ -x "$reference" ] || fail "$reference is not a program"
    # The parts and their expected results.
    "$reference" render "$work/rendered" --train 0 --test 6 --per-defect 1 --seed 11 >&2
    for picture in "$work"/rendered/test/*/*.png; do
        kind=$(basename "$(dirname "$picture")")
        "$plant_out" enlarge "$picture" "$disk/parts/$kind-$(basename "$picture")"
    done
    (cd "$disk/parts" && "$reference" score "$here/line.pgp" ./*.png) > "$work/expected.jsonl"
    mv "$work/expected.jsonl" "$disk/parts/"
    cp "$here/line.pgp" "$here/line.toml" "$disk/etc/"
fi
add_program "$plant_in" plant
install -m 755 "$machine/busybox" "$disk/busybox"
install -m 755 "$here/init" "$disk/init"
cp "$machine"/modules/*.ko "$disk/modules/"
(cd "$disk" && find . | "$machine/busybox-host" cpio -o -H newc 2>/dev/null) > "$work/initramfs"

log=$cache/$arch-$task.log
echo "$arch, $(cat "$machine/release"), $(du -m "$work/initramfs" | cut -f1) MiB in memory" >&2
timeout --foreground "$seconds" "${qemu[@]}" -accel tcg,thread=multi -smp 2 -m 1024 \
    -kernel "$machine/vmlinuz" -initrd "$work/initramfs" \
    -append "console=$console quiet loglevel=4 panic=-1 plant=$task" \
    -nic none -display none -monitor none -serial stdio -no-reboot </dev/null \
    | sed -u 's:\r::g' | tee "$log" \
    || fail "the test machine did not finish within $seconds s; its console is in $log"
grep -Eq '^[1-9][0-9]* passed, 0 failed$' "$log" || fail "not passed; the console is in $log"
