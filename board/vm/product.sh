#!/usr/bin/env bash
# Makes board/vm/line.pgp, the product of the test machine: the demonstration's part at 128 x 128 pixels.
# It needs a quarter of the work of calibration/demo.pgp, because an emulated processor is about a
# hundred times slower than a real one. The same commands give the same bytes. Run it again when the
# renderer, the backbone, the method or the bundle format changes.
#
#   board/vm/product.sh [FOLDER]      FOLDER: with the built programs partgate and partgate-train
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=${1:-}
if [ -z "$programs" ]; then
    (cd "$here/../.." && cargo build --locked --workspace)
    programs=${CARGO_TARGET_DIR:-$here/../../target}/debug
fi
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
"$programs/partgate" render "$parts/set" --seed 1 --test 0 --per-defect 0
"$programs/partgate-train" fit "$parts/set" -o "$here/line.pgp" \
    --name "terminal assembly, small" --part-number PG-0001 \
    --method position --size 128 --max-bank 512 --goldens 1 --seed 1
