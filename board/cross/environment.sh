# Everything that cargo needs to build for aarch64. This file is sourced, not run. Afterwards
# `cross_cargo ARGS` is cargo for that machine, and the tests that it runs run under user-mode emulation.
#
# Debian's own compiler is used, because its standard library for arm64 is a Debian package of the same
# version. That package is unpacked into the cache folder; no foreign package is installed.
# shellcheck shell=bash

cross_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$cross_here/../.." && pwd)
cache=${PARTGATE_CACHE:-$root/target/board}
cross_target=aarch64-unknown-linux-gnu
# shellcheck source=board/vm/debian.sh
source "$root/board/vm/debian.sh"

cross_sysroot() {
    local compiler oldest own version
    needs /usr/bin/rustc rustc-web
    needs /usr/bin/cargo cargo-web
    needs aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    mkdir -p "$cache"
    compiler=$(/usr/bin/rustc --version | cut -d' ' -f2)
    oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
    [ "$(printf '%s\n' "$oldest" "$compiler" | sort -V | head -n 1)" = "$oldest" ] \
        || fail "rustc-web is version $compiler, and $oldest is needed; update it with: apt-get update && apt-get install rustc-web cargo-web"
    version=$(dpkg-query -W -f '${Version}' rustc-web 2>/dev/null) \
        || fail "/usr/bin/rustc is not Debian's rustc-web; install it with: apt-get install rustc-web cargo-web"
    sysroot=$cache/sysroot-$compiler
    [ ! -e "$sysroot/complete" ] || return 0
    # One folder with the standard libraries of both machines: build scripts and derive macros run on
    # this machine, and the compiler looks for all libraries below one root.
    rm -rf "$sysroot"
    mkdir -p "$sysroot/lib/rustlib"
    own=$(/usr/bin/rustc --print sysroot)/lib/rustlib
    ln -s "$own/$(/usr/bin/rustc -vV | sed -n 's/^host: //p')" "$sysroot/lib/rustlib/"
    unpack arm64 "libstd-rust-web-dev=$version" "$sysroot/arm64"
    ln -s "$sysroot/arm64/usr/lib/rustlib/$cross_target" "$sysroot/lib/rustlib/"
    [ -e "$sysroot/lib/rustlib/$cross_target/lib" ] \
        || fail "libstd-rust-web-dev has no $cross_target in it (arm64 package of version $version)"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nexec /usr/bin/rustc --sysroot "%s" "$@"\n' "$sysroot" > "$sysroot/rustc"
    chmod +x "$sysroot/rustc"
    touch "$sysroot/complete"
}

cross_cargo() {
    (
        unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS RUSTUP_TOOLCHAIN CARGO_BUILD_TARGET
        export RUSTC=$sysroot/rustc
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
        # The kernel headers of that machine, for the camera bindings.
        export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu="--sysroot=/usr/aarch64-linux-gnu -I/usr/aarch64-linux-gnu/include"
        command=$1
        shift
        # The profile for emulation: without link-time optimisation, so builds take a fraction of the
        # time, and with unwinding, because the test harness catches panics.
        /usr/bin/cargo "$command" --locked --target "$cross_target" \
            --config 'profile.emulated.inherits="release"' \
            --config 'profile.emulated.lto="off"' \
            --config 'profile.emulated.codegen-units=16' \
            --config 'profile.emulated.panic="unwind"' "$@"
    )
}

cross_sysroot
