#!/usr/bin/env bash
# A private PostgreSQL on loopback for development and tests, without Docker.
#
#   deploy/local/postgres.sh start     start it, wait until it answers, print the URL to use
#   deploy/local/postgres.sh url       print the URL of the running one
#   deploy/local/postgres.sh status    tell whether it runs; exit code 3 when it does not
#   deploy/local/postgres.sh stop      stop it; its data stays for the next start
#   deploy/local/postgres.sh crash     stop it at once, as by a failure (pg_ctl -m immediate)
#   deploy/local/postgres.sh backup    take a base backup of the running one, in place of the last
#   deploy/local/postgres.sh restore   put the data of the stopped one back to the backup
#   deploy/local/postgres.sh standby   start a standby of the running one, print its URL; it stops with that
#
# Data, log and password live in a directory of their own:
#
#   PENSTOCK_POSTGRES_DIR      default /tmp/penstock-postgres-<user id>; made when missing
#   PENSTOCK_POSTGRES_PORT     default: the first free port from 15432 on
#   PENSTOCK_POSTGRES_OPTIONS  further options of the server, such as "-c log_min_duration_statement=0"
#
# Needs PostgreSQL 15 or later. When it is missing, root gets the distribution's package by apt-get.
set -euo pipefail

readonly LEAST_VERSION=15
readonly FIRST_PORT=15432
readonly LAST_PORT=15531
readonly START_TIMEOUT_S=60

directory="${PENSTOCK_POSTGRES_DIR:-/tmp/penstock-postgres-$(id -u)}"
data="$directory/data"
log="$directory/server.log"
url_file="$directory/url"

die() {
    printf 'deploy/local/postgres.sh: %s\n' "$*" >&2
    exit 1
}

# PostgreSQL refuses to run as root, so root hands over to the user of the package.
as_owner() {
    if [[ $(id -u) -eq 0 ]]; then
        (cd / && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

# The newest installation, the one on the PATH first.
find_bin() {
    local candidate best=""
    if candidate="$(command -v initdb)"; then
        dirname "$(readlink -f "$candidate")"
        return
    fi
    for candidate in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin; do
        [[ -x "$candidate/initdb" ]] && best="$candidate"
    done
    [[ -n "$best" ]] && printf '%s\n' "$best"
}

install_package() {
    [[ $(id -u) -eq 0 ]] || die "PostgreSQL is missing and only root can install it: ask for the package \
postgresql ($LEAST_VERSION or later), or name a server of your own in PENSTOCK_TEST_POSTGRES"
    command -v apt-get >/dev/null || die "PostgreSQL is missing and there is no apt-get: install \
PostgreSQL $LEAST_VERSION or later and run again"
    # Without this the package starts a server of its own on port 5432.
    mkdir -p /etc/postgresql-common/createcluster.d
    printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.d/penstock.conf
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql; } >&2 ||
        die "apt-get could not install postgresql: see above"
}

require_server() {
    local version
    bin="$(find_bin || true)"
    if [[ -z "$bin" ]]; then
        install_package
        bin="$(find_bin || true)"
        [[ -n "$bin" ]] || die "the package postgresql is installed, yet there is no initdb"
    fi
    version="$("$bin/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')"
    [[ "$version" -ge "$LEAST_VERSION" ]] || die "PostgreSQL in $bin is version $version; $LEAST_VERSION or later is needed"
    if [[ $(id -u) -eq 0 ]]; then
        id postgres >/dev/null 2>&1 || die "there is no user postgres to run the server as"
    fi
}

listens() {
    (: >"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

choose_port() {
    local port="${PENSTOCK_POSTGRES_PORT:-}"
    if [[ -n "$port" ]]; then
        listens "$port" && die "another process listens on port $port: choose another PENSTOCK_POSTGRES_PORT"
        printf '%s\n' "$port"
        return
    fi
    for ((port = FIRST_PORT; port <= LAST_PORT; port++)); do
        if ! listens "$port"; then
            printf '%s\n' "$port"
            return
        fi
    done
    die "no free port from $FIRST_PORT to $LAST_PORT: name one in PENSTOCK_POSTGRES_PORT"
}

running() {
    [[ -f "$data/postmaster.pid" ]] || return 1
    local pid command
    pid="$(head -n 1 "$data/postmaster.pid")"
    # The number may be another process's by now, or a killed one's that nobody has collected.
    command="$(ps -o stat=,args= -p "$pid" 2>/dev/null)" || return 1
    [[ "$command" != Z* && "$command" == *"$data"* ]]
}

create() {
    local password
    mkdir -p "$directory"
    password="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
    (umask 077 && printf '%s\n' "$password" >"$directory/password")
    if [[ $(id -u) -eq 0 ]]; then
        chown -R postgres "$directory"
    fi
    as_owner "$bin/initdb" --pgdata="$data" --username=penstock --pwfile="$directory/password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >"$directory/initdb.log" 2>&1 ||
        die "initdb failed: see $directory/initdb.log"
}

start() {
    local port settings
    if running; then
        cat "$url_file"
        return
    fi
    require_server
    [[ -f "$data/PG_VERSION" ]] || create
    port="$(choose_port)"
    settings="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='' \
-c max_connections=200 -c shared_buffers=256MB -c max_wal_size=4GB ${PENSTOCK_POSTGRES_OPTIONS:-}"
    as_owner "$bin/pg_ctl" start --pgdata="$data" --log="$log" --timeout="$START_TIMEOUT_S" --wait \
        --options="$settings" >/dev/null || die "the server does not start: see $log"
    (umask 077 && printf 'postgres://penstock:%s@127.0.0.1:%s/postgres\n' \
        "$(cat "$directory/password")" "$port" >"$url_file")
    cat "$url_file"
}

stop() {
    of_standby "$2"
    running || return 0
    require_server
    as_owner "$bin/pg_ctl" stop --pgdata="$data" --mode="$1" --wait >/dev/null ||
        die "the server does not stop: see $log"
}

backup() {
    running || die "it does not run: start it with deploy/local/postgres.sh start"
    require_server
    rm -rf "$directory/backup"
    as_owner env "PGPASSWORD=$(cat "$directory/password")" "$bin/pg_basebackup" \
        --dbname="$(cat "$url_file")" --pgdata="$directory/backup" --checkpoint=fast >/dev/null ||
        die "no base backup could be taken: see above"
}

restore() {
    ! running || die "it runs: stop it first with deploy/local/postgres.sh stop"
    [[ -d "$directory/backup" ]] || die "there is no backup in $directory"
    rm -rf "$data"
    cp -a "$directory/backup" "$data"
}

# A server of its own, in a directory below that of the one it follows.
standby() {
    running || die "it does not run: start it with deploy/local/postgres.sh start"
    require_server
    of_standby stop
    rm -rf "$directory/standby"
    as_owner mkdir "$directory/standby"
    cp -p "$directory/password" "$directory/standby/password"
    as_owner env "PGPASSWORD=$(cat "$directory/password")" "$bin/pg_basebackup" --write-recovery-conf \
        --dbname="$(cat "$url_file")" --pgdata="$directory/standby/data" --checkpoint=fast >/dev/null ||
        die "no copy for the standby could be taken: see above"
    of_standby start
}

of_standby() {
    [[ ! -d "$directory/standby" ]] ||
        env -u PENSTOCK_POSTGRES_PORT "PENSTOCK_POSTGRES_DIR=$directory/standby" "$0" "$1"
}

case "${1:-}" in
    start) start ;;
    stop) stop fast stop ;;
    crash) stop immediate crash ;;
    backup) backup ;;
    restore) restore ;;
    standby) standby ;;
    url)
        running || die "it does not run: start it with deploy/local/postgres.sh start"
        cat "$url_file"
        ;;
    status)
        if running; then
            printf 'runs on port %s, data in %s\n' "$(sed -n 4p "$data/postmaster.pid")" "$data"
        else
            printf 'does not run\n'
            exit 3
        fi
        ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" && exit 2 ;;
esac
