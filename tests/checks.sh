# How scripts of checks speak and count. Sourced.
# shellcheck shell=bash disable=SC2034

passed=0
failed=0

say() { printf '\n== %s\n' "$*"; }

die() {
    printf '%s: %s\n' "$0" "$*" >&2
    exit 2
}

# Runs a command as one check.
check() {
    local name="$1"
    shift
    say "$name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$name" >&2
    fi
}
