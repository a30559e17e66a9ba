#!/usr/bin/env bash
# A real Apache Kafka on loopback without Docker, for development and tests. No data of value goes here.
#
#   deploy/local/kafka.sh start [--nodes 1|3] [--port PORT] [--dir DIR] [--proxied PORT] [--secure]
#                                                                         prints the bootstrap address
#   deploy/local/kafka.sh status [--dir DIR]                              prints it, or fails
#   deploy/local/kafka.sh stop [--dir DIR] [--keep]                       stops; removes the data unless --keep
#   deploy/local/kafka.sh signal --node N --signal NAME [--dir DIR]       KILL, TERM, STOP or CONT for one node
#
# `start` brings back nodes that do not run and leaves the others alone. With --proxied each node n has
# another listener on PORT + 2 * 3 + n - 1, advertised as proxied PORT + n - 1: what forwards the one to
# the other sees all that its clients say.
#
# Needs Java 17 or later and Maven, which fetches Kafka once into
# ${PENSTOCK_CACHE:-${XDG_CACHE_HOME:-~/.cache}/penstock}. Node n listens on PORT + 2(n - 1) for clients
# (default 19092) and on the port after it for the other nodes. PENSTOCK_KAFKA_HEAP sets each node's
# heap (default 512m).
#
# --secure adds to one node, beside the open listener for administration:
#   PORT + 2  SASL_SSL: SCRAM-SHA-256 and SCRAM-SHA-512 (user "penstock", password "penstock-secret"), and
#             OAUTHBEARER, which takes unsigned tokens
#   PORT + 3  SSL, for clients with a certificate of the authority in DIR/tls only
# DIR/tls holds ca.pem, client.pem, client.key, and stranger.pem, an authority that signed nothing.
set -euo pipefail

readonly KAFKA_VERSION="4.3.1"
readonly LOG4J_VERSION="2.25.4"
readonly DEPENDENCY_PLUGIN="org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
readonly START_SECONDS=90
readonly STOP_SECONDS=30

cache="${PENSTOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/penstock}"
libs="$cache/kafka-$KAFKA_VERSION"
nodes=1
port=19092
dir="$cache/local/kafka"
keep=false
proxied=""
node=""
signal=""
secure=false

die() {
    printf 'kafka.sh: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# When a process began, in clock ticks since boot: tells it from another one with the same id.
started_at() {
    local stat
    stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 1
    # The command in brackets may hold blanks; what follows the last bracket does not.
    read -ra fields <<<"${stat##*) }"
    # A process that has ended and was not waited for yet is gone.
    [[ "${fields[0]}" != Z ]] || return 1
    printf '%s\n' "${fields[19]}"
}

# Prints the process id of a node that runs.
running() {
    local pid began
    read -r pid began 2>/dev/null <"$dir/node-$1/pid" || return 1
    [[ "$(started_at "$pid")" == "$began" ]] || return 1
    printf '%s\n' "$pid"
}

client_port() { printf '%s\n' "$((port + 2 * ($1 - 1)))"; }

# The addresses of the nodes for clients, or, with "1", for each other.
addresses() {
    local shift="${1:-0}" list="" node
    for ((node = 1; node <= nodes; node++)); do
        list+=",127.0.0.1:$(($(client_port "$node") + shift))"
    done
    printf '%s\n' "${list#,}"
}

voters() {
    local list="" node
    for ((node = 1; node <= nodes; node++)); do
        list+=",$node@127.0.0.1:$(($(client_port "$node") + 1))"
    done
    printf '%s\n' "${list#,}"
}

require_java() {
    local version
    command -v java >/dev/null || die "java is missing: install a Java runtime, version 17 or later"
    version="$(java -version 2>&1 | sed -nE '1s/.* version "([0-9]+).*/\1/p')"
    [[ -n "$version" && "$version" -ge 17 ]] || die "java is version ${version:-unknown}: Kafka needs 17 or later"
}

fetch_libs() {
    [[ ! -e "$libs/complete" ]] || return 0
    command -v mvn >/dev/null || die "mvn is missing: install Maven, it fetches Kafka"
    mkdir -p "$libs"
    cat >"$libs/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>penstock.local</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$LOG4J_VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>$LOG4J_VERSION</version></dependency>
  </dependencies>
</project>
POM
    mvn -q -B -f "$libs/pom.xml" "$DEPENDENCY_PLUGIN:copy-dependencies" \
        -DincludeScope=runtime -DoutputDirectory="$libs" >&2 ||
        die "Maven could not fetch Kafka $KAFKA_VERSION: see above; is a repository reachable?"
    touch "$libs/complete"
}

# Makes an authority: DIR/tls/NAME.key and NAME.pem.
make_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
        -subj "/CN=penstock $1" -keyout "$dir/tls/$1.key" -out "$dir/tls/$1.pem" 2>/dev/null
}

# Makes a certificate of the authority: DIR/tls/NAME.key and NAME.pem.
make_certificate() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
        -keyout "$dir/tls/$1.key" -out "$dir/tls/$1.csr" 2>/dev/null &&
        openssl x509 -req -in "$dir/tls/$1.csr" -CA "$dir/tls/ca.pem" -CAkey "$dir/tls/ca.key" \
            -CAcreateserial -days 30 -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost') \
            -out "$dir/tls/$1.pem" 2>/dev/null
}

make_tls() {
    command -v openssl >/dev/null || die "openssl is missing: install it, it makes the certificates"
    mkdir -p "$dir/tls"
    if ! { make_authority ca && make_authority stranger && make_certificate broker && make_certificate client; }; then
        die "the certificates cannot be made in $dir/tls"
    fi
    cat "$dir/tls/broker.key" "$dir/tls/broker.pem" >"$dir/tls/broker-keystore.pem"
}

# Adds the listeners of --secure to the settings of the one node.
write_secure_settings() {
    local home="$1" open="$2" sasl tls
    local module="org.apache.kafka.common.security"
    sasl="127.0.0.1:$((port + 2))" tls="127.0.0.1:$((port + 3))"
    sed -i -e "s|^listeners=.*|&,SASL_SSL://$sasl,SSL://$tls|" \
        -e "s|^advertised.listeners=.*|advertised.listeners=PLAINTEXT://$open,SASL_SSL://$sasl,SSL://$tls|" \
        -e 's|^listener.security.protocol.map=.*|&,SASL_SSL:SASL_SSL,SSL:SSL|' "$home/server.properties"
    cat >>"$home/server.properties" <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/broker-keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=$module.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="penstock";
PROPERTIES
}

write_settings() {
    local node="$1" home="$dir/node-$1" factor=1 in_sync=1
    local clients others
    clients="127.0.0.1:$(client_port "$node")"
    others="127.0.0.1:$(($(client_port "$node") + 1))"
    local listeners advertised protocols="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"
    if [[ $nodes -eq 3 ]]; then factor=3 in_sync=2; fi
    listeners="PLAINTEXT://$clients,CONTROLLER://$others"
    advertised="PLAINTEXT://$clients"
    if [[ -n "$proxied" ]]; then
        listeners+=",PROXIED://127.0.0.1:$((port + 5 + node))"
        advertised+=",PROXIED://127.0.0.1:$((proxied + node - 1))"
        protocols+=",PROXIED:PLAINTEXT"
    fi
    mkdir -p "$home"
    cat >"$home/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$(voters)
listeners=$listeners
advertised.listeners=$advertised
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=$protocols
log.dirs=$home/data
default.replication.factor=$factor
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$factor
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=$factor
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=10
share.coordinator.state.topic.replication.factor=$factor
share.coordinator.state.topic.min.isr=$in_sync
share.coordinator.state.topic.num.partitions=10
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
PROPERTIES
    cat >"$home/log4j2.properties" <<LOG4J
appender.file.type=File
appender.file.name=file
appender.file.fileName=$home/server.log
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
LOG4J
    if $secure; then write_secure_settings "$home" "$clients"; fi
}

start_node() {
    local node="$1" cluster="$2" home="$dir/node-$1" pid users=() mechanism
    write_settings "$node"
    if $secure; then
        for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
            users+=(--add-scram "$mechanism=[name=penstock,password=penstock-secret]")
        done
    fi
    java -cp "$libs/*" kafka.tools.StorageTool format --ignore-formatted -t "$cluster" "${users[@]}" \
        -c "$home/server.properties" >"$home/format.log" 2>&1 ||
        die "node $node cannot format its storage: see $home/format.log"
    rm -f "$home/server.log"
    nohup java "-Xmx${PENSTOCK_KAFKA_HEAP:-512m}" "-Dlog4j2.configurationFile=$home/log4j2.properties" \
        -cp "$libs/*" kafka.Kafka "$home/server.properties" >"$home/stdout.log" 2>&1 </dev/null &
    pid=$!
    printf '%s %s\n' "$pid" "$(started_at "$pid")" >"$home/pid"
}

# Waits until every node says that it serves.
wait_until_ready() {
    local node deadline=$((SECONDS + START_SECONDS))
    for ((node = 1; node <= nodes; node++)); do
        until grep -q 'Kafka Server started' "$dir/node-$node/server.log" 2>/dev/null; do
            running "$node" >/dev/null ||
                die "node $node has ended: see $dir/node-$node/stdout.log and server.log there; is a port taken?"
            [[ $SECONDS -lt $deadline ]] || die "node $node did not start in $START_SECONDS s: see $dir/node-$node/server.log"
            sleep 0.2
        done
    done
}

start() {
    local node cluster
    # In a process of its own: what does not run ends it.
    if (status) 2>/dev/null; then return; fi
    require_java
    fetch_libs
    mkdir -p "$dir"
    # Letters and digits only: an id that begins with a dash would be taken for an option.
    [[ -e "$dir/cluster" ]] || head -c 16 /dev/urandom | base64 | tr '+/' 'Aa' | tr -d '=' >"$dir/cluster"
    cluster="$(cat "$dir/cluster")"
    printf '%s %s\n' "$nodes" "$port" >"$dir/shape"
    if $secure && [[ ! -e "$dir/tls/client.pem" ]]; then make_tls; fi
    for ((node = 1; node <= nodes; node++)); do
        running "$node" >/dev/null || start_node "$node" "$cluster"
    done
    wait_until_ready
    addresses
}

# What was started there decides, not the options of this call.
read_shape() { read -r nodes port 2>/dev/null <"$dir/shape"; }

status() {
    local node
    read_shape || die "no Kafka was started in $dir"
    for ((node = 1; node <= nodes; node++)); do
        running "$node" >/dev/null || die "node $node of $nodes in $dir does not run"
    done
    addresses
}

stop() {
    local node pid deadline=$((SECONDS + STOP_SECONDS))
    read_shape || return 0
    for ((node = 1; node <= nodes; node++)); do
        # One that was stopped hears nothing else.
        if pid="$(running "$node")"; then kill "$pid" && kill -CONT "$pid"; fi
    done
    for ((node = 1; node <= nodes; node++)); do
        while pid="$(running "$node")"; do
            if [[ $SECONDS -ge $deadline ]]; then kill -KILL "$pid"; fi
            sleep 0.1
        done
    done
    if ! $keep; then rm -rf "$dir"; fi
}

send_signal() {
    local pid
    read_shape || die "no Kafka was started in $dir"
    [[ "$node" =~ ^[1-9]$ && "$signal" =~ ^(KILL|TERM|STOP|CONT)$ ]] || usage
    pid="$(running "$node")" || die "node $node in $dir does not run"
    kill "-$signal" "$pid"
    [[ "$signal" == KILL || "$signal" == TERM ]] || return 0
    while running "$node" >/dev/null; do sleep 0.1; done
}

main() {
    local command="${1:-}"
    [[ $# -eq 0 ]] || shift
    while [[ $# -gt 0 ]]; do
        case "$1" in
            --nodes) nodes="${2:-}" && shift ;;
            --port) port="${2:-}" && shift ;;
            --dir) dir="${2:-}" && shift ;;
            --keep) keep=true ;;
            --proxied) proxied="${2:-}" && shift ;;
            --node) node="${2:-}" && shift ;;
            --signal) signal="${2:-}" && shift ;;
            --secure) secure=true ;;
            *) usage ;;
        esac
        shift
    done
    [[ "$nodes" == 1 || "$nodes" == 3 ]] || die "--nodes is 1 or 3"
    if $secure && [[ "$nodes" != 1 || -n "$proxied" ]]; then die "--secure is for one node without --proxied"; fi
    [[ "$port" =~ ^[0-9]+$ && "$proxied" =~ ^[0-9]*$ && -n "$dir" ]] || usage
    case "$command" in
        start) start ;;
        status) status ;;
        stop) stop ;;
        signal) send_signal ;;
        *) usage ;;
    esac
}

main "$@"
