#!/usr/bin/env python3
"""Takes the custom resource definitions that the checks compare with from clones of their projects.

    vendor.py DIRECTORY

DIRECTORY holds a clone of each repository below under the repository's own name. Descriptions, which are most of
the text, are left out; everything that validates stays. Needs PyYAML.
"""

import json
import pathlib
import subprocess
import sys

import yaml

# Repository, release, and the files of it.
SOURCES = [
    ("keda", "v2.20.2", ["config/crd/bases/keda.sh_scaledobjects.yaml",
                         "config/crd/bases/keda.sh_triggerauthentications.yaml"]),
    ("strimzi-kafka-operator", "1.2.0", [f"packaging/install/cluster-operator/{name}.yaml" for name in (
        "040-Crd-kafka", "043-Crd-kafkatopic", "044-Crd-kafkauser", "045-Crd-kafkanodepool")]),
    ("cloudnative-pg", "v1.30.0", [f"config/crd/bases/postgresql.cnpg.io_{kind}.yaml" for kind in (
        "clusters", "poolers", "scheduledbackups")]),
    ("gateway-api", "v1.6.1", [f"config/crd/standard/gateway.networking.k8s.io_{kind}.yaml" for kind in (
        "gateways", "httproutes")]),
    ("prometheus-operator", "v0.93.0", [f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml" for kind in (
        "prometheusrules", "servicemonitors")]),
    ("external-secrets", "v2.9.0", ["config/crds/bases/external-secrets.io_externalsecrets.yaml"]),
    ("cert-manager", "v1.21.1", ["deploy/crds/cert-manager.io_certificates.yaml"]),
]


def without_descriptions(node):
    """The schema without its prose. A property that is called description is a schema, not a text, and stays."""
    if isinstance(node, dict):
        return {key: without_descriptions(value) for key, value in node.items()
                if not (key == "description" and isinstance(value, str))}
    if isinstance(node, list):
        return [without_descriptions(item) for item in node]
    return node


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    here = pathlib.Path(__file__).parent
    for old in here.glob("*.json"):
        old.unlink()
    for repository, release, files in SOURCES:
        clone = pathlib.Path(sys.argv[1]) / repository
        for file in files:
            shown = subprocess.run(["git", "-C", clone, "show", f"{release}:{file}"],
                                   check=True, capture_output=True, text=True)
            for crd in yaml.safe_load_all(shown.stdout):
                if not crd:
                    continue
                crd.pop("status", None)
                name = crd["metadata"]["name"]
                crd["metadata"].setdefault("annotations", {})["penstock/vendored-from"] = f"{repository} {release}"
                (here / f"{name}.json").write_text(
                    json.dumps(without_descriptions(crd), separators=(",", ":"), sort_keys=True, default=str) + "\n")


main()
