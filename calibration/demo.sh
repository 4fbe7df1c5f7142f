#!/usr/bin/env bash
# Makes calibration/demo.pgp, the product that `partgate demo` judges with, from rendered good parts.
# The same commands give the same bytes; run it again when the renderer, the backbone or the method
# changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
parts="$(mktemp -d)"
trap 'rm -rf "$parts"' EXIT
cargo build --workspace
program="${CARGO_TARGET_DIR:-target}/debug"
"$program/partgate" render "$parts/set" --seed 1
"$program/partgate-train" fit "$parts/set" -o calibration/demo.pgp \
    --name "terminal assembly" --part-number PG-0001 \
    --method auto --max-bank 1500 --goldens 1 --seed 1
"$program/partgate-train" validate "$parts/set" --bundle calibration/demo.pgp
