#!/bin/sh
# Kills the vision process of a running line 1,000 times at random instants and proves that no part
# passes without an OK of its own: tests/killed_line.rs, with the demonstration's product instead of
# the small one. Takes about twenty minutes; prints how long READY took to fall and to come back.
#
#   board/kill.sh [KILLS] [PRODUCT.pgp]
set -eu
cd "$(dirname "$0")/.."
PARTGATE_KILLS=${1:-1000}
PARTGATE_KILLS_PRODUCT=$(realpath "${2:-calibration/demo.pgp}")
export PARTGATE_KILLS PARTGATE_KILLS_PRODUCT
exec cargo test --locked -p partgate --test killed_line -- --nocapture --exact \
    killing_the_vision_process_proves_that_nothing_passes_by_itself
