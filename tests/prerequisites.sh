# What must be installed before anything is run: everything that is missing is told at once, as a command to paste,
# or installed where that may be done. Sourced by tests/run.sh.
# shellcheck shell=bash

# Name, what tells that it is there, and the packages of Debian and Ubuntu, of Fedora, and of Homebrew.
readonly TO_BUILD=(
    "a C++ compiler and make|command -v c++ && command -v make|build-essential|gcc-c++ make|gcc make"
    "Perl|perl -MFindBin -MIPC::Cmd -e 1|perl|perl-FindBin perl-IPC-Cmd perl-core|perl"
    "Python 3 with venv|python3 -c 'import ensurepip, venv'|python3-venv|python3|python"
)
readonly TO_TEST=(
    "Java 17 or later|has_java|default-jre-headless|java-latest-openjdk-headless|openjdk"
    "Maven|command -v mvn|maven|maven|maven"
    "openssl|command -v openssl|openssl|openssl|openssl"
    "PostgreSQL 15 or later|has_postgres|postgresql|postgresql-server|postgresql@17"
    "PgBouncer|command -v pgbouncer || test -x /usr/sbin/pgbouncer|pgbouncer|pgbouncer|pgbouncer"
)

has_java() {
    local version
    version="$(java -version 2>&1 | sed -nE '1s/.* version "([0-9]+).*/\1/p')"
    [[ "${version:-0}" -ge 17 ]]
}

has_postgres() {
    command -v initdb || compgen -G "/usr/lib/postgresql/*/bin/initdb" || compgen -G "/usr/pgsql-*/bin/initdb" ||
        compgen -G "/opt/homebrew/opt/postgresql@*/bin/initdb"
}

# Sees to it that everything is there that building takes and, with "tests", that the tests take; ends the run
# otherwise.
require_packages() {
    local row name check apt dnf brew rows=("${TO_BUILD[@]}")
    [[ "${1:-}" != tests ]] || rows+=("${TO_TEST[@]}")
    local names=() apts=() dnfs=() brews=()
    for row in "${rows[@]}"; do
        # What tells that it is there may hold a "|" of its own.
        name="${row%%|*}" brew="${row##*|}" check="${row#*|}"
        check="${check%|*}" dnf="${check##*|}" check="${check%|*}"
        apt="${check##*|}" check="${check%|*}"
        if ! eval "$check" >/dev/null 2>&1; then
            names+=("$name") apts+=("$apt") dnfs+=("$dnf") brews+=("$brew")
        fi
    done
    command -v cargo >/dev/null || die "Rust is missing: https://rustup.rs tells how to get it"
    [[ ${#names[@]} -gt 0 ]] || return 0
    if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
        install_packages "${apts[@]}"
        return
    fi
    {
        printf '%s: nothing was run, as this is missing:\n' "$0"
        printf '  %s\n' "${names[@]}"
        printf 'Debian, Ubuntu:  sudo apt-get install --no-install-recommends -y %s\n' "${apts[*]}"
        printf 'Fedora:          sudo dnf install -y %s\n' "${dnfs[*]}"
        printf 'macOS:           brew install %s\n' "${brews[*]}"
    } >&2
    exit 2
}

install_packages() {
    say "installing $*"
    # Without this the package of PostgreSQL starts a server of its own.
    mkdir -p /etc/postgresql-common/createcluster.d
    printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.d/penstock.conf
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; } >&2 ||
        die "apt-get could not install $*: see above"
}
