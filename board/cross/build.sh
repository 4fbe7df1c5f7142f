#!/usr/bin/env bash
# Builds the runtime for aarch64 boards: one static binary with cameras.
#
#   board/cross/build.sh            release build; prints the path of the binary
#   board/cross/build.sh --quick    without link-time optimisation, for tests under emulation
#   board/cross/build.sh --plant DIR    builds the plant of the test machine (board/vm) into this folder
#
# Needs Debian's rustc-web, cargo-web, gcc-aarch64-linux-gnu and libclang-dev. The first build takes a
# quarter of an hour on two processors, because of the network engine.
set -euo pipefail

# shellcheck source=board/cross/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

if [ "${1:-}" = --plant ]; then
    [ $# -eq 2 ] || fail "--plant needs a folder"
    cross_cargo build --release --manifest-path "$root/board/vm/plant/Cargo.toml" --target-dir "$2" >&2
    echo "$2/$cross_target/release/plant"
    exit
fi
profile=release
if [ "${1:-}" = --quick ]; then
    profile=emulated
    shift
fi
[ $# -eq 0 ] || fail "unknown argument $1; the head of this file has the usage"
# libclang-cpp.so is another library, and does not serve.
compgen -G '/usr/lib/llvm-*/lib/libclang[-.][0-9s]*' >/dev/null || compgen -G '/usr/lib/*/libclang[-.][0-9s]*' >/dev/null \
    || fail "libclang is missing (the camera bindings are made with it); install it with: apt-get install libclang-dev"

export CARGO_TARGET_DIR=$root/target/cross
cd "$root"
cross_cargo build --profile $profile --features v4l2 --bin partgate >&2
echo "$CARGO_TARGET_DIR/$cross_target/$profile/partgate"
