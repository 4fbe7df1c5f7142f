#!/bin/sh
# Changes the code that decides whether a part passes, one condition at a time, and says which changes
# no test notices: file, line and change. Needs cargo and Python 3, nothing else.
#
#   board/mutate.sh                  all of it; goes on where an earlier run was stopped
#   board/mutate.sh --fresh          forgets earlier results
#   board/mutate.sh --only TEXT      only changes whose name contains TEXT (a file, a function)
#   board/mutate.sh --list           the changes, without running anything
#   board/mutate.sh --station        the same of what holds the outputs (src/station/supervisor.rs and
#                                    link.rs), whose tests start processes: a quarter of an hour
#
# Changes that no test can notice, or need not, are in tests/line_alone/accepted-mutants.txt with the
# reason. Exit code: 0 all others are caught, 1 some are not, 2 it could not be tried.
set -eu
cd "$(dirname "$0")/.."
exec python3 board/mutate.py "$@"
