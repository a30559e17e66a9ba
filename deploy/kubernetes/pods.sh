#!/usr/bin/env bash
# Runs the rendered pods as processes of this machine, with nothing but what they would find in a container.
#
#   deploy/kubernetes/pods.sh BINARY [embedded|production]     both forms, or one
#
# Each pod gets a root directory with the files of the image alone (the binary, the libraries it wants, the authorities),
# read-only but for the pod's own volumes, as user 65532 without capabilities, with the pod's variables and no others,
# without a shell or HOME, and a network that has nothing but loopback. Its probes are asked as the node would, and it is
# ended as a roll-out does it. The production form runs over a Kafka and a PostgreSQL that are started by
# deploy/local/ in the same network. What differs from the rendered pod is said at the end.
#
# Needs root, Linux, iproute2, and what deploy/local/kafka.sh and deploy/local/postgres.sh need.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=deploy/kubernetes/tools.sh
source tools.sh

[[ $# -ge 1 && $# -le 2 ]] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2; }
[[ -x "$1" ]] || die "$1 is no program: name a penstock binary"
[[ $(id -u) -eq 0 ]] || die "only root may make namespaces: run it as root"
command -v ip >/dev/null || die "ip is missing: install iproute2"
binary="$(realpath "$1")"
shift
install_kubernetes_tools
exec unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private \
    python pods.py "$binary" "$@"
