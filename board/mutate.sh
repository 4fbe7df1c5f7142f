#!/bin/sh
# Changes the code that decides whether a part passes, one condition at a time, and prints the changes
# that no test notices: file, line and change. Needs only cargo and Python 3.
#
#   board/mutate.sh                  all changes; continues an earlier run that was stopped
#   board/mutate.sh --fresh          ignores earlier results
#   board/mutate.sh --only TEXT      only changes whose name contains TEXT (a file, a function)
#   board/mutate.sh --list           the changes, without running anything
#   board/mutate.sh --station        the same for the code that holds the outputs (src/station/supervisor.rs
#                                    and link.rs), whose tests start processes: a quarter of an hour
#
# Changes that no test can notice or must notice are in tests/line_alone/accepted-mutants.txt with the
# reason. Exit code: 0 all others are caught, 1 some are not, 2 the tests could not run.
set -eu
cd "$(dirname "$0")/.."
exec python3 board/mutate.py "$@"
