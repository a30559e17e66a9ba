#!/usr/bin/env bash
# Real processes over a real Kafka cluster and a real PostgreSQL while things break.
#
#   tests/faults.sh                        every fault once, the random mix short: about 15 minutes
#   tests/faults.sh --long                 a restored backup of 100,000 submissions, a long random mix, a replay
#   tests/faults.sh --seed N               the choices of another run again
#   tests/faults.sh --list                 what there is
#   tests/faults.sh "broker killed" lock   only what has one of these in its name
#   tests/faults.sh --servers DIR          servers that stay there for the next run
#
# Starts three Kafka nodes and a PostgreSQL of its own by deploy/local/ on loopback ports from 26000 on
# (--port FIRST) and stops them in the end. The fault "disk full" mounts a small filesystem, so it needs
# root. Prints a table of what came of every fault; the logs of one that failed are kept.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The long form spends its time on what is tested, not on unoptimised code.
profile=()
if [[ " $* " == *" --long "* ]]; then
    profile=(--release)
fi
exec cargo test --locked "${profile[@]}" --features production-tests --test faults -- "$@"
