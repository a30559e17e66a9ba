#!/usr/bin/env bash
# Checks everything under deploy/kubernetes and deploy/image without a cluster.
#
#   deploy/kubernetes/check.sh
#
# The chart is linted and rendered; the Kustomize form is what comes of the chart, and both build the same objects;
# every object meets its schema (Kubernetes' own, and those of crds/) and the policies of check.py; every setting,
# command, path, port and metric that is named is one of penstock's; values with a known mistake are refused with
# their path; alerts fire when they should, and the queries that KEDA scales by say what they should.
#
# PENSTOCK_BIN names a binary that also reads the rendered settings, as each role would; without it, and for the alerts
# without promtool, that is NOT RUN. Needs Go and Python; the tools are installed, pinned, under
# ${PENSTOCK_CACHE:-~/.cache/penstock}. The last line counts: "N passed, N failed".
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=deploy/kubernetes/tools.sh
source tools.sh

not_run=()
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

lint() {
    local form
    for form in embedded production; do
        helm lint chart --strict --quiet --kube-version 1.34.0 --values "chart/examples/$form.yaml" || return 1
    done
}

# What is checked in is what the chart renders.
up_to_date() {
    cp -r kustomize "$work/kustomize"
    ./render.sh "$work/kustomize"
    diff -r kustomize "$work/kustomize" || {
        printf 'The Kustomize form is not what the chart renders: run deploy/kubernetes/render.sh\n' >&2
        return 1
    }
}

# The policies of others. Left out: limits of CPU, which only add waits; digests and pull policies of images, which the
# installation decides; HEALTHCHECK, as Kubernetes has probes; a base's tag, as it is given by digest.
by_checkov() {
    local form
    mkdir "$work/checkov"
    cp ../image/Dockerfile "$work/checkov"
    for form in embedded production; do
        helm template penstock chart --namespace penstock --kube-version 1.34.0 --values "chart/examples/$form.yaml" \
            >"$work/checkov/$form.yaml" || return 1
    done
    checkov --directory "$work/checkov" --framework kubernetes dockerfile --skip-download --quiet --compact \
        --skip-check CKV_K8S_11,CKV_K8S_15,CKV_K8S_43,CKV_DOCKER_2,CKV_DOCKER_7
}

main() {
    local step
    install_kubernetes_tools
    check "helm lint" lint
    check "the Kustomize form is rendered from the chart" up_to_date
    check "both forms build the same objects" python check.py same
    check "schemas of all objects" python check.py schemas
    check "policies" python check.py policies
    check "names of penstock's own" python check.py names
    check "values with a mistake are refused" python check.py mistakes
    check "policies of checkov" by_checkov
    check "Dockerfile" hadolint --config ../image/hadolint.yaml ../image/Dockerfile
    if command -v promtool >/dev/null; then
        check "alerts and queries on made-up series" python alerts.py
    else
        not_run+=("alerts and queries on made-up series: promtool is missing; Debian's package prometheus has it")
    fi
    if [[ -n "${PENSTOCK_BIN:-}" ]]; then
        check "schema of the settings" ./schema.py "$PENSTOCK_BIN" --check
        check "settings as the binary reads them" python check.py settings "$PENSTOCK_BIN"
    else
        not_run+=("settings as the binary reads them: PENSTOCK_BIN names no binary")
    fi
    for step in "${not_run[@]}"; do
        printf '\nNOT RUN: %s\n' "$step"
    done
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [[ $failed -eq 0 ]]
}

main "$@"
