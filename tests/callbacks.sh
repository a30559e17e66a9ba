#!/usr/bin/env bash
# Real processes of callbacks over a real Kafka and a real PostgreSQL, and receivers of every kind.
#
#   tests/callbacks.sh                  verification, kills, order, a shared backlog: about 4 minutes
#   tests/callbacks.sh --long           100 kills, 50 disturbances of order, a backlog of 1,000,000
#   tests/callbacks.sh --seed N         the choices of another run again
#   tests/callbacks.sh --list           what there is
#   tests/callbacks.sh order backlog    only what has one of these in its name
#   tests/callbacks.sh rate             measures a fast receiver alone and beside the others (--events N)
#
# Uses the servers that PENSTOCK_TEST_KAFKA and PENSTOCK_TEST_POSTGRES name, as tests/run.sh does; it
# starts none. What it makes there is removed in the end, also when it is interrupted. Installs the Python
# packages that verify what arrives, pinned, under ${PENSTOCK_CACHE:-~/.cache/penstock}, and fails where they
# cannot be had.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/tools.sh
source tests/tools.sh
install_tools
# The long form spends its time on what is tested, not on unoptimised code.
profile=()
if [[ " $* " == *" --long "* ]]; then
    profile=(--release)
fi
exec cargo test --locked "${profile[@]}" --features production-tests --test callbacks_production -- "$@"
