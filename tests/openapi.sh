#!/usr/bin/env bash
# Property tests of the served OpenAPI document: schemathesis, all checks on, against a real
# `penstock dev` on a free port. Needs schemathesis on the PATH and a built binary.
#
#   tests/openapi.sh [BINARY]      default: target/debug/penstock
#   tests/openapi.sh http://…      a server that runs already and knows the token `dev`
#
# SEED=n repeats a run, EXAMPLES=n sets how many cases per operation and phase are made.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TARGET="${1:-target/debug/penstock}"
readonly SEED="${SEED:-1}"
readonly EXAMPLES="${EXAMPLES:-60}"
readonly START_TIMEOUT_S=30

work="$(mktemp -d)"
server=""

stop() {
    if [[ -n "$server" ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT

fail() {
    printf 'tests/openapi.sh: %s\n' "$*" >&2
    cat "$work/out" "$work/log" >&2 2>/dev/null || true
    exit 1
}

# Prints the address that `dev` says it listens on.
address() {
    sed -nE 's|.*(http://127\.0\.0\.1:[0-9]+).*|\1|p' "$work/out" "$work/log" | head -n 1
}

start() {
    local binary
    binary="$(realpath "$TARGET")"
    "$binary" dev --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir "$work/data" \
        >"$work/out" 2>"$work/log" &
    server=$!
    local deadline=$((SECONDS + START_TIMEOUT_S))
    until [[ -n "$(address)" ]]; do
        kill -0 "$server" 2>/dev/null || fail "$TARGET dev ended before it was ready"
        [[ $SECONDS -lt $deadline ]] || fail "$TARGET dev was not ready in $START_TIMEOUT_S s"
        sleep 0.1
    done
}

if [[ "$TARGET" == http://* || "$TARGET" == https://* ]]; then
    url="$TARGET"
else
    start
    url="$(address)"
fi
# It keeps what it found in the working directory.
config="$PWD/tests/openapi.toml"
cd "$work"
schemathesis --config-file "$config" run "$url/openapi.json" \
    --header "Authorization: Bearer dev" \
    --checks all \
    --max-examples "$EXAMPLES" \
    --seed "$SEED" \
    --workers 1 \
    --request-timeout 20 \
    --no-color
[[ -z "$server" ]] || kill -0 "$server" 2>/dev/null || fail "the server died under test"
