#!/usr/bin/env bash
# Every test of penstock, one command, on a fresh machine.
#
#   tests/run.sh               all steps
#   tests/run.sh lint tests    only these: lint, docs, tests, openapi, supply-chain
#
# Needs Rust and the packages that tests/prerequisites.sh lists: root on Debian or Ubuntu gets them, anybody else
# is told all that is missing before anything is run. What else it needs is installed, pinned, under
# ${PENSTOCK_CACHE:-~/.cache/penstock}. The last line counts: "N passed, N failed".
#
# The tests of the production store use the server named by PENSTOCK_TEST_POSTGRES, the URL of a user
# who may create databases; without it they start one by deploy/local/postgres.sh. Those of the Kafka
# queue use the brokers that PENSTOCK_TEST_KAFKA names; without it they start one by
# deploy/local/kafka.sh. The fault suite (tests/faults.sh, about 15 minutes of the step "tests") breaks its
# servers and so always starts its own; filling a disk takes root.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=tests/tools.sh
source tests/tools.sh
# shellcheck source=tests/prerequisites.sh
source tests/prerequisites.sh

readonly ALL_STEPS=(lint docs tests openapi supply-chain)

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
# One set of build artefacts for every step, without the incremental ones a single pass never uses.
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
# OpenSSL takes minutes to build, so the system's is used where it is there.
if pkg-config --exists openssl 2>/dev/null; then
    export OPENSSL_NO_VENDOR="${OPENSSL_NO_VENDOR:-1}"
fi

not_run=()
log="$(mktemp)"
servers=""
trap cleanup EXIT

cleanup() {
    if [[ -n "$servers" ]]; then
        PENSTOCK_POSTGRES_DIR="$servers/postgres" deploy/local/postgres.sh stop || true
        deploy/local/kafka.sh stop --dir "$servers/kafka" || true
        rm -rf "$servers"
    fi
    rm -f "$log"
}

step_lint() {
    check "format" cargo fmt --all --check
    check "clippy" cargo clippy --locked --all-targets --features production-tests --quiet -- -D warnings
    check "clippy of the lean build" cargo clippy --locked --no-default-features --quiet -- -D warnings
    check "shell scripts" shellcheck .ci/run tests/*.sh deploy/local/*.sh
}

step_docs() {
    RUSTDOCFLAGS="-D warnings" check "documentation" cargo doc --locked --no-deps --features production-tests --quiet
}

# Makes the directory of the servers started here; their own users must be able to reach it.
make_servers_dir() {
    [[ -z "$servers" ]] || return 0
    servers="$(mktemp -d)"
    chmod 755 "$servers"
}

# Sees to it that there is a server for the tests of the production store.
require_postgres() {
    [[ -z "${PENSTOCK_TEST_POSTGRES:-}" ]] || return 0
    say "PostgreSQL for the tests"
    make_servers_dir
    PENSTOCK_TEST_POSTGRES="$(PENSTOCK_POSTGRES_DIR="$servers/postgres" deploy/local/postgres.sh start)" ||
        return 1
    export PENSTOCK_TEST_POSTGRES
}

# Sees to it that there are brokers for the tests of the production queue.
require_kafka() {
    [[ -z "${PENSTOCK_TEST_KAFKA:-}" ]] || return 0
    say "Kafka for the tests"
    make_servers_dir
    PENSTOCK_TEST_KAFKA="$(deploy/local/kafka.sh start --dir "$servers/kafka" --port 29092)" || return 1
    export PENSTOCK_TEST_KAFKA
}

# How many tests of a binary go at a time: they mostly wait for servers, timers and other processes.
test_threads() {
    local threads=$((2 * $(getconf _NPROCESSORS_ONLN)))
    echo $((threads < 8 ? threads : 8))
}

# Adds up the closing lines of the test binaries; a build that fails counts as one failure.
step_tests() {
    local status=0 ran=0 count_passed count_failed
    if ! require_postgres; then
        failed=$((failed + 1))
        printf 'FAILED: no PostgreSQL for the tests of the production store: see above, or name one in PENSTOCK_TEST_POSTGRES\n' >&2
    fi
    if ! require_kafka; then
        failed=$((failed + 1))
        printf 'FAILED: no Kafka for the tests of the production queue: see above, or name brokers in PENSTOCK_TEST_KAFKA\n' >&2
    fi
    say "tests"
    export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(test_threads)}"
    cargo test --locked --no-fail-fast --features production-tests 2>&1 | tee "$log" || status=$?
    while read -r count_passed count_failed; do
        passed=$((passed + count_passed))
        failed=$((failed + count_failed))
        ran=$((ran + count_failed))
    done < <(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' "$log")
    if [[ $status -ne 0 && $ran -eq 0 ]]; then
        failed=$((failed + 1))
        printf 'FAILED: tests\n' >&2
    fi
}

step_openapi() {
    check "binary" cargo build --locked --features production-tests --quiet
    check "served OpenAPI under schemathesis" tests/openapi.sh
}

step_supply_chain() {
    check "licenses, bans, sources" cargo deny --log-level error check licenses bans sources
    if cargo deny --log-level off fetch db >/dev/null 2>&1; then
        check "advisories" cargo deny --log-level error check --disable-fetch advisories
    else
        not_run+=("advisories: the RustSec database cannot be fetched from here")
    fi
}

main() {
    local steps=("$@") step
    [[ ${#steps[@]} -gt 0 ]] || steps=("${ALL_STEPS[@]}")
    if [[ " ${steps[*]} " == *" tests "* ]]; then require_packages tests; else require_packages; fi
    install_tools
    for step in "${steps[@]}"; do
        case "$step" in
            lint) step_lint ;;
            docs) step_docs ;;
            tests) step_tests ;;
            openapi) step_openapi ;;
            supply-chain) step_supply_chain ;;
            *) die "unknown step '$step': choose from ${ALL_STEPS[*]}" ;;
        esac
    done
    for step in "${not_run[@]}"; do
        printf '\nNOT RUN: %s\n' "$step"
    done
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [[ $failed -eq 0 ]]
}

main "$@"
