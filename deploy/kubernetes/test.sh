#!/usr/bin/env bash
# Installs both forms into a cluster, upgrades them and goes back, with Pod Security "restricted" enforced.
#
#   deploy/kubernetes/test.sh [--crds] [--values FILE] [--image REPOSITORY:TAG] [--objects] [--keep]
#
# KUBECONFIG names the cluster; its user makes namespaces. Two are made, and removed unless --keep is given. kubectl,
# helm and kustomize come from the PATH, the last two otherwise as check.sh installs them.
#
#   --crds     makes the custom resource definitions that are missing from crds/, and removes them: for a cluster
#              without the operators
#   --values   values for the production form, such as where your brokers and your database are. Without them its
#              pods become ready only where nobody runs them, on simulated nodes
#   --image    the image, where pods run
#   --objects  only that every object is taken, with restricted enforced; no pod is waited for
#
# What is shown: nothing that restricted forbids gets in; every object is taken with strict validation; the Jobs have
# ended before a role is there; roll-outs end, and no role has fewer pods than its budget allows meanwhile; pods are in
# more than one zone; an upgrade and the way back do what they say. The last line counts: "N passed, N failed".
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=deploy/kubernetes/tools.sh
source tools.sh

# As many seconds as a step may take, with its unit.
readonly WAIT="${PENSTOCK_TEST_WAIT:-180s}"

run_id="$(date +%s | tail -c 6)"
helm_space="penstock-helm-$run_id"
kustomize_space="penstock-kustomize-$run_id"
crds=false
keep=false
values=()
image=""
objects_only=false
made_crds=()
work="$(mktemp -d)"
trap cleanup EXIT

cleanup() {
    local crd
    if ! $keep; then
        kubectl delete namespace "$helm_space" "$kustomize_space" --ignore-not-found --wait=false >/dev/null 2>&1 || true
        kubectl delete persistentvolume --selector "penstock/test=$run_id" --wait=false >/dev/null 2>&1 || true
        for crd in "${made_crds[@]}"; do kubectl delete crd "$crd" --wait=false >/dev/null 2>&1 || true; done
    fi
    rm -rf "$work"
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# Says what is wrong, and fails.
wrong() {
    printf '%s\n' "$*" >&2
    return 1
}

make_crds() {
    local file name
    for file in crds/*.json; do
        name="$(basename "$file" .json)"
        kubectl get crd "$name" >/dev/null 2>&1 && continue
        kubectl create --filename "$file" || return 1
        made_crds+=("$name")
    done
    [[ ${#made_crds[@]} -eq 0 ]] ||
        kubectl wait --for=condition=Established --timeout="$WAIT" "${made_crds[@]/#/crd/}"
}

# A namespace where restricted is enforced, with the Secrets that the examples name.
make_space() {
    local space="$1" secret
    kubectl create namespace "$space" &&
        kubectl label namespace "$space" pod-security.kubernetes.io/enforce=restricted \
            pod-security.kubernetes.io/warn=restricted || return 1
    kubectl --namespace "$space" create secret generic penstock-tokens \
        --from-literal=tokens="[{\"name\": \"test\", \"sha256\": \"$(printf test | sha256sum | cut -d ' ' -f 1)\"}]" || return 1
    for secret in intake worker callbacks setup db-user db-app; do
        kubectl --namespace "$space" create secret generic "penstock-$secret" --from-literal=password=test || return 1
    done
    for secret in kafka-cluster-ca-cert db-ca; do
        kubectl --namespace "$space" create secret generic "penstock-$secret" --from-literal=ca.crt=test || return 1
    done
    kubectl --namespace "$space" create secret generic penstock-callbacks-keys --from-literal=risk=test
}

# Without this nothing below would say anything about restricted.
privileged_is_refused() {
    local told
    if told="$(kubectl --namespace "$helm_space" run privileged --image=none --privileged --restart=Never 2>&1)"; then
        wrong "a privileged pod was taken"
    elif [[ "$told" != *"violates PodSecurity"* ]]; then
        wrong "$told"
    fi
}

# Where no class makes volumes, the embedded form gets one by hand.
make_volume() {
    kubectl get storageclass --output name | grep -q . && return 0
    kubectl create --filename - <<VOLUME
apiVersion: v1
kind: PersistentVolume
metadata: {name: penstock-test-$run_id-$1, labels: {penstock/test: "$run_id"}}
spec:
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: /tmp/penstock-test}
  claimRef: {namespace: $2, name: data-penstock-embedded-0}
VOLUME
}

field() { kubectl --namespace "$1" get "$2" --output "jsonpath=$3"; }

rolled_out() {
    local space="$1" role
    shift
    for role in "$@"; do
        kubectl --namespace "$space" rollout status "$role" --timeout="$WAIT" || return 1
    done
}

# The autoscaler has seen to its least number of intakes: a Deployment that is scaled begins with one pod.
least_is_there() {
    local end=$((SECONDS + ${WAIT%s})) least
    least="$(field "$1" horizontalpodautoscaler/penstock-intake '{.spec.minReplicas}')"
    until [[ "$(field "$1" deployment/penstock-intake '{.status.availableReplicas}')" -ge $least ]]; do
        [[ $SECONDS -lt $end ]] || wrong "there are fewer than $least intakes" || return 1
        sleep 1
    done
}

readonly ROLES=(deployment/penstock-intake statefulset/penstock-worker deployment/penstock-callbacks)

# Installs or upgrades by helm: name of the further values, then options.
by_helm() {
    local told
    told="$(helm upgrade --install penstock chart --namespace "$helm_space" --wait --timeout "$WAIT" \
        "${image_options[@]}" "$@" 2>&1)" || wrong "$told" || return 1
    [[ "$told" != *"would violate PodSecurity"* ]] || wrong "$told"
}

embedded_by_helm() {
    make_volume helm "$helm_space" || return 1
    by_helm --values chart/examples/embedded.yaml || return 1
    rolled_out "$helm_space" statefulset/penstock-embedded || return 1
    helm uninstall penstock --namespace "$helm_space" --wait --timeout "$WAIT" || return 1
    kubectl --namespace "$helm_space" get persistentvolumeclaim data-penstock-embedded-0 >/dev/null ||
        wrong "the volume went with the release"
}

production_by_helm() {
    by_helm "${production[@]}" || return 1
    rolled_out "$helm_space" "${ROLES[@]}" && least_is_there "$helm_space"
}

# Seconds since 1970 of a field that holds a time.
time_of() { date --date "$(field "$@")" +%s; }

jobs_end_before_roles_are_there() {
    local space="$1" job done_at made_at role
    for job in topics migrate; do
        done_at="$(time_of "$space" "job/penstock-$job" '{.status.completionTime}')" || return 1
        for role in "${ROLES[@]}"; do
            made_at="$(time_of "$space" "$role" '{.metadata.creationTimestamp}')" || return 1
            [[ "$done_at" -le "$made_at" ]] || wrong "$role was there before the Job $job had ended" || return 1
        done
    done
}

zones_of() {
    local node
    for node in $(kubectl --namespace "$1" get pods --selector "app.kubernetes.io/component=$2" \
        --output 'jsonpath={.items[*].spec.nodeName}'); do
        kubectl get node "$node" --output 'jsonpath={.metadata.labels.topology\.kubernetes\.io/zone}{"\n"}'
    done | sort -u | grep -c .
}

pods_are_in_zones() {
    local all role
    all="$(kubectl get nodes --output 'jsonpath={range .items[*]}{.metadata.labels.topology\.kubernetes\.io/zone}{"\n"}{end}' |
        sort -u | grep -c . || true)"
    if [[ "$all" -lt 2 ]]; then
        printf 'NOT RUN: the cluster has one zone\n'
        return 0
    fi
    for role in intake worker callbacks; do
        [[ "$(zones_of "$1" "$role")" -ge 2 ]] || wrong "all pods of $role are in one zone" || return 1
    done
}

# A budget of each role lets one pod go.
budgets_allow_one() {
    local role allowed
    for role in intake worker callbacks; do
        allowed="$(field "$1" "poddisruptionbudget/penstock-$role" '{.status.disruptionsAllowed}')"
        [[ "$allowed" == 1 ]] || wrong "the budget of $role allows ${allowed:-nothing} instead of 1" || return 1
    done
}

# A drain asks for an eviction a pod; more than one at a time is refused.
budget_is_kept() {
    local space="$1" pods pod told gone="" refused=0 taken=0
    kubectl proxy --port="$proxy_port" >/dev/null 2>&1 &
    local proxy=$!
    sleep 1
    pods="$(kubectl --namespace "$space" get pods --selector app.kubernetes.io/component=intake --output 'jsonpath={.items[*].metadata.name}')"
    for pod in $pods; do
        told="$(curl --silent --output /dev/null --write-out '%{http_code}' --header 'content-type: application/json' \
            --data "{\"apiVersion\": \"policy/v1\", \"kind\": \"Eviction\", \"metadata\": {\"name\": \"$pod\", \"namespace\": \"$space\"}}" \
            "http://127.0.0.1:$proxy_port/api/v1/namespaces/$space/pods/$pod/eviction")"
        case "$told" in
            201) taken=$((taken + 1)) gone="pod/$pod" ;;
            429) refused=$((refused + 1)) ;;
        esac
    done
    kill "$proxy"
    printf '%d evictions taken, %d refused\n' "$taken" "$refused"
    [[ "$taken" -ge 1 && "$refused" -ge 1 ]] || wrong "of several evictions at once not one was taken and one refused" || return 1
    kubectl --namespace "$space" wait --for=delete --timeout="$WAIT" "$gone" && least_is_there "$space"
}

# Notes the fewest available pods of each role until the file "stop" is there.
watch_available() {
    local space="$1" role now
    while [[ ! -e "$work/stop" ]]; do
        for role in "${ROLES[@]}"; do
            now="$(field "$space" "$role" '{.status.availableReplicas}' 2>/dev/null || true)"
            printf '%s %s\n' "$role" "${now:-0}" >>"$work/available"
        done
        sleep 0.2
    done
}

fewest() { sed -n "s|^$1 ||p" "$work/available" | sort -n | head -n 1; }

# Does something while the available pods are watched: the least each role may have is 2, 1 and 2.
within_budgets() {
    local space="$1" watcher status=0 least role
    shift
    rm -f "$work/stop" "$work/available"
    watch_available "$space" &
    watcher=$!
    "$@" || status=$?
    touch "$work/stop"
    wait "$watcher"
    [[ $status -eq 0 ]] || return "$status"
    for role in "${ROLES[@]}"; do
        least=2
        [[ "$role" != statefulset/* ]] || least=1
        printf '%s: at least %s available\n' "$role" "$(fewest "$role")"
        [[ "$(fewest "$role")" -ge $least ]] || wrong "$role had $(fewest "$role") available pods, fewer than $least" || return 1
    done
}

upgrade_by_helm() {
    local before after
    before="$(time_of "$helm_space" job/penstock-migrate '{.metadata.creationTimestamp}')"
    sleep 1
    by_helm "${production[@]}" --values chart/examples/gateway.yaml --values chart/examples/monitoring.yaml \
        --set settings.intake.outcome_wait=5s --set podAnnotations.release=next || return 1
    rolled_out "$helm_space" "${ROLES[@]}" || return 1
    after="$(time_of "$helm_space" job/penstock-migrate '{.metadata.creationTimestamp}')"
    [[ "$after" -gt "$before" ]] || wrong "the migration was not run again" || return 1
    [[ "$(field "$helm_space" configmap/penstock-settings '{.data.PENSTOCK__INTAKE__OUTCOME_WAIT}')" == 5s ]] ||
        wrong "the setting has not changed" || return 1
    every_pod_has "$helm_space" next
}

# Every pod that is to stay is of the revision with this annotation; "" means none.
every_pod_has() {
    local pod release
    while IFS='=' read -r pod release; do
        [[ "${release#<no value>}" == "$2" ]] || wrong "$pod is of the release '$release' instead of '$2'" || return 1
    done < <(kubectl --namespace "$1" get pods --selector app.kubernetes.io/name=penstock --output \
        'go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}={{index .metadata.annotations "release"}}{{"\n"}}{{end}}{{end}}')
}

back_by_helm() {
    helm rollback penstock --namespace "$helm_space" --wait --timeout "$WAIT" || return 1
    rolled_out "$helm_space" "${ROLES[@]}" || return 1
    [[ -z "$(field "$helm_space" configmap/penstock-settings '{.data.PENSTOCK__INTAKE__OUTCOME_WAIT}')" ]] ||
        wrong "the setting did not go back" || return 1
    every_pod_has "$helm_space" ""
}

# What the roles are made of: it changes with every roll-out.
generations() {
    local role
    for role in "${ROLES[@]}"; do field "$helm_space" "$role" '{.metadata.generation} '; done
}

# A Job that fails ends the upgrade before any role is touched.
failing_job_changes_nothing() {
    local before told
    before="$(generations)"
    if told="$(by_helm "${production[@]}" --set nodeSelector.nowhere=here --set setup.deadlineSeconds=5 \
        --set podAnnotations.release=never 2>&1)"; then
        wrong "the upgrade went on although its Job failed"
        return 1
    fi
    [[ "$told" == *"pre-upgrade hooks failed"* ]] || wrong "$told" || return 1
    [[ "$(generations)" == "$before" ]] || wrong "roles were changed although the Job failed" || return 1
    helm rollback penstock --namespace "$helm_space" --wait --timeout "$WAIT" && every_pod_has "$helm_space" ""
}

# Pods that nobody can run, as when a release does not come up.
never_ready() {
    local told
    if told="$(by_helm "${production[@]}" --set podAnnotations.release=bad --set-string intake.resources.requests.cpu=1000 \
        --set-string worker.resources.requests.cpu=1000 --set-string callbacks.resources.requests.cpu=1000 \
        --timeout 15s 2>&1)"; then
        wrong "helm did not wait for the roles"
        return 1
    fi
    [[ "$told" == *"deadline exceeded"* ]] || wrong "$told" || return 1
    helm rollback penstock --namespace "$helm_space" --wait --timeout "$WAIT" || return 1
    rolled_out "$helm_space" "${ROLES[@]}" && every_pod_has "$helm_space" ""
}

# KEDA's objects are taken; nobody may scale by them here, so the number of workers is not looked at.
keda_is_taken() {
    by_helm "${production[@]}" --values chart/examples/monitoring.yaml --values chart/examples/keda.yaml || return 1
    kubectl --namespace "$helm_space" get scaledobject penstock-worker penstock-callbacks >/dev/null
}

examples_are_taken() {
    local file
    for file in examples/*.yaml; do
        sed "s/namespace: penstock$/namespace: $helm_space/" "$file" |
            kubectl apply --dry-run=server --validate=strict --filename - || return 1
    done
}

# Takes what a form renders, with these further files of values, as an installation would.
objects_are_taken() {
    local form="$1" options=() name
    shift
    for name in "$form" "$@"; do options+=(--values "chart/examples/$name.yaml"); done
    # The server's version, or helm would go by its own.
    helm template penstock chart --namespace "$helm_space" --kube-version "$server_version" \
        "${image_options[@]}" "${options[@]}" >"$work/objects.yaml" || return 1
    apply --filename "$work/objects.yaml" || return 1
    # Not even what was taken may be changed by taking it again.
    kubectl diff --filename "$work/objects.yaml"
}

# A kustomization of the production overlay in the test's namespace, with this release as an annotation.
write_kustomization() {
    mkdir -p "$work/$1"
    # Kustomize takes resources by relative paths only.
    cat >"$work/$1/kustomization.yaml" <<KUSTOMIZATION
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: $kustomize_space
resources: [$(realpath --relative-to "$work/$1" kustomize/overlays/production)]
components: [$(realpath --relative-to "$work/$1" kustomize/components/monitoring)]
$2
KUSTOMIZATION
    kustomize build "$work/$1" >"$work/$1.yaml"
}

apply() {
    local told
    told="$(kubectl apply --validate=strict "$@" 2>&1)" || wrong "$told" || return 1
    [[ "$told" != *"would violate PodSecurity"* ]] || wrong "$told"
}

readonly SETUP="app.kubernetes.io/name=penstock-setup"

# The steps of README.md: what runs before the roles, then all.
by_kubectl() {
    kubectl --namespace "$kustomize_space" delete job --selector "$SETUP" --ignore-not-found || return 1
    apply --filename "$1" --selector "$SETUP" || return 1
    kubectl --namespace "$kustomize_space" wait --for=condition=Complete --timeout="$WAIT" job --selector "$SETUP" || return 1
    apply --filename "$1" || return 1
    rolled_out "$kustomize_space" "${ROLES[@]}" && least_is_there "$kustomize_space"
}

again_by_kubectl() {
    apply --filename "$work/first.yaml" && rolled_out "$kustomize_space" "${ROLES[@]}"
}

upgrade_by_kubectl() {
    by_kubectl "$work/next.yaml" && every_pod_has "$kustomize_space" next
}

back_by_kubectl() {
    by_kubectl "$work/first.yaml" && every_pod_has "$kustomize_space" ""
}

embedded_by_kubectl() {
    make_volume kustomize "$kustomize_space" || return 1
    kustomize build kustomize/overlays/embedded |
        sed "s/namespace: penstock$/namespace: $kustomize_space/" >"$work/embedded.yaml"
    apply --filename "$work/embedded.yaml" && rolled_out "$kustomize_space" statefulset/penstock-embedded
}

main() {
    while [[ $# -gt 0 ]]; do
        case "$1" in
            --crds) crds=true ;;
            --objects) objects_only=true ;;
            --keep) keep=true ;;
            --values) values+=(--values "${2:?}") && shift ;;
            --image) image="${2:?}" && shift ;;
            *) usage ;;
        esac
        shift
    done
    [[ -n "${KUBECONFIG:-}" ]] || die "KUBECONFIG names no cluster: it is the file that kubectl goes by"
    command -v kubectl >/dev/null || die "kubectl is missing: put it on the PATH"
    if ! command -v helm >/dev/null || ! command -v kustomize >/dev/null; then install_kubernetes_tools; fi
    kubectl get --raw /readyz >/dev/null || die "the cluster of $KUBECONFIG does not answer"
    proxy_port="${PENSTOCK_TEST_PORT:-45990}"
    image_options=()
    [[ -z "$image" ]] || image_options=(--set "image.repository=${image%:*}" --set "image.tag=${image##*:}")
    production=(--values chart/examples/production.yaml "${values[@]}")
    server_version="$(kubectl version 2>/dev/null | sed -n 's/^Server Version: //p')"
    printf 'Kubernetes: %s\n' "$server_version"

    if $crds; then check "custom resource definitions" make_crds; fi
    check "namespaces with restricted enforced" make_space "$helm_space"
    check "a privileged pod is refused" privileged_is_refused
    if $objects_only; then
        check "objects of the embedded form" objects_are_taken embedded gateway monitoring
        check "objects of the production form" objects_are_taken production gateway keda monitoring
        check "the examples" examples_are_taken
        printf '\n%d passed, %d failed\n' "$passed" "$failed"
        [[ $failed -eq 0 ]]
        return
    fi
    check "helm: the embedded form" embedded_by_helm
    check "helm: the production form" production_by_helm
    check "helm: the Jobs have ended before the roles are there" jobs_end_before_roles_are_there "$helm_space"
    check "pods are in more than one zone" pods_are_in_zones "$helm_space"
    check "budgets allow one pod" budgets_allow_one "$helm_space"
    check "a budget is kept" budget_is_kept "$helm_space"
    check "helm: an upgrade within the budgets" within_budgets "$helm_space" upgrade_by_helm
    check "helm: the way back within the budgets" within_budgets "$helm_space" back_by_helm
    check "helm: a Job that fails changes nothing" failing_job_changes_nothing
    check "helm: the way back from a release that does not come up, within the budgets" within_budgets "$helm_space" never_ready
    check "helm: KEDA's objects" keda_is_taken
    check "the examples" examples_are_taken
    check "the other namespace" make_space "$kustomize_space"
    write_kustomization first ""
    write_kustomization next "commonAnnotations: {release: next}"
    check "kubectl: the production form" by_kubectl "$work/first.yaml"
    check "kubectl: the Jobs have ended before the roles are there" jobs_end_before_roles_are_there "$kustomize_space"
    check "kubectl: the same again changes nothing" again_by_kubectl
    check "kubectl: an upgrade within the budgets" within_budgets "$kustomize_space" upgrade_by_kubectl
    check "kubectl: the way back within the budgets" within_budgets "$kustomize_space" back_by_kubectl
    check "kubectl: the embedded form" embedded_by_kubectl
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [[ $failed -eq 0 ]]
}

main "$@"
