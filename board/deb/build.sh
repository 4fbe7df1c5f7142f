#!/bin/sh
# Builds the Debian package: target/debian/partgate_VERSION_ARCHITECTURE.deb
#
#   board/deb/build.sh                      builds the binary (libclang-dev is needed for cameras) and packs it
#   board/deb/build.sh --binary FILE        packs a binary that is already there
#   board/deb/build.sh --binary FILE --target aarch64-unknown-linux-gnu
#                                           the same for another architecture; RUNNER (qemu-aarch64-static, say)
#                                           runs the binary for its manual pages
#
# Needs cargo-deb: cargo install cargo-deb
set -eu
cd "$(dirname "$0")/../.."

fail() {
    echo "build.sh: $1" >&2
    exit 1
}

binary=
target=
while [ $# -gt 0 ]; do
    case "$1" in
    --binary) binary=${2:-} ;;
    --target) target=${2:-} ;;
    *) fail "unknown argument $1; see the head of this script" ;;
    esac
    [ -n "${2:-}" ] || fail "$1 needs a value"
    shift 2
done
command -v cargo-deb >/dev/null || fail "cargo-deb is missing; cargo install cargo-deb"

folder=${CARGO_TARGET_DIR:-target}
release=$folder${target:+/$target}/release
if [ -n "$binary" ]; then
    [ -x "$binary" ] || fail "$binary is no program"
    mkdir -p "$release"
    [ "$binary" -ef "$release/partgate" ] || cp "$binary" "$release/partgate"
else
    cargo build --release --features v4l2 ${target:+--target "$target"}
fi

# Manual pages and completions come from the program itself. cargo-deb looks for files relative to Cargo.toml.
pages=out/deb
rm -rf "$pages"
mkdir -p "$pages/man" "$pages/completions"
partgate() {
    ${RUNNER:-} "$release/partgate" "$@"
}
partgate man "$pages/man" --quiet >/dev/null
gzip -9n "$pages"/man/*.1
partgate completions bash >"$pages/completions/partgate"
partgate completions zsh >"$pages/completions/_partgate"
partgate completions fish >"$pages/completions/partgate.fish"

cargo deb --no-build ${target:+--target "$target"}
