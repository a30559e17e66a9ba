#!/usr/bin/env bash
# Renders the Kustomize form from the chart, which is the one source of both.
#
#   deploy/kubernetes/render.sh [DIRECTORY]     writes DIRECTORY (default: deploy/kubernetes/kustomize)
#
# Run it after every change of chart/; check.sh compares what is checked in with what comes of the chart.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=deploy/kubernetes/tools.sh
source tools.sh

install_kubernetes_tools
exec python render.py "$(realpath -m "${1:-kustomize}")"
