#!/bin/sh
# Kills the vision process of a running line 1,000 times at random times, kills the supervisor as often,
# and stops (SIGSTOP) one of them and both as often. It checks that no part passes without an OK verdict
# on its own picture. It runs tests/killed_line.rs and tests/stopped_line.rs with the product of the
# demonstration instead of the small one. It takes more than an hour, and prints how long READY took to
# go off and to come on again.
#
#   board/kill.sh [KILLS [STOPS [PRODUCT.pgp]]]
#
# PRODUCT.pgp can be given in the place of STOPS. 0 skips that part.
set -eu
cd "$(dirname "$0")/.."
PARTGATE_KILLS=${1:-1000}
case ${2:-} in
*.pgp)
    PARTGATE_STOPS=$PARTGATE_KILLS
    product=$2
    ;;
*)
    PARTGATE_STOPS=${2:-$PARTGATE_KILLS}
    product=${3:-calibration/demo.pgp}
    ;;
esac
PARTGATE_KILLS_PRODUCT=$(realpath "$product")
export PARTGATE_KILLS PARTGATE_STOPS PARTGATE_KILLS_PRODUCT
if [ "$PARTGATE_KILLS" != 0 ]; then
    cargo test --locked -p partgate --test killed_line -- --nocapture --exact \
        killing_the_vision_process_proves_that_nothing_passes_by_itself
fi
if [ "$PARTGATE_STOPS" != 0 ]; then
    cargo test --locked -p partgate --test stopped_line -- --nocapture --test-threads 1
fi
