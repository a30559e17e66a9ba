"""Checks of the rendered objects, one a command. Called by check.sh, which explains them."""

import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import jsonschema
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
KUBERNETES = "1.34"
# What is rendered in both forms: files of values, and the overlay and components that build the same.
FORMS = [
    (["embedded"], "embedded", []),
    (["embedded", "ingress"], "embedded", ["ingress"]),
    (["embedded", "gateway", "monitoring"], "embedded", ["gateway", "monitoring"]),
    (["production"], "production", []),
    (["production", "gateway", "keda", "monitoring"], "production", ["gateway", "keda", "monitoring"]),
    (["production", "ingress"], "production", ["ingress"]),
]

# What is rendered by Helm only.
FURTHER = [["production", "tests/everything"]]

problems = []


def problem(text):
    problems.append(text)


def told(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(part) for part in command[:3])} failed:\n{done.stderr}")
    return done.stdout


def helm(values):
    command = ["helm", "template", "penstock", HERE / "chart", "--namespace", "penstock", "--kube-version", "1.34.0"]
    for name in values:
        command += ["--values", HERE / "chart" / f"{name if '/' in name else f'examples/{name}'}.yaml"]
    return objects(told(command))


def kustomize(overlay, components):
    base = HERE / "kustomize"
    # Kustomize takes files of its own directory only, so the mixture stands beside what it mixes.
    with tempfile.TemporaryDirectory(dir=base) as directory:
        pathlib.Path(directory, "kustomization.yaml").write_text(json.dumps({
            "resources": [f"../overlays/{overlay}"],
            "components": [f"../components/{name}" for name in components],
        }))
        return objects(told(["kustomize", "build", directory]))


def objects(text):
    found = {}
    for item in yaml.safe_load_all(text):
        if item:
            metadata = item["metadata"]
            found[(item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"])] = item
    return found


def shown(key):
    return f"{key[1]} {key[3]}"


def every_form():
    for values in [*(values for values, _, _ in FORMS), *FURTHER]:
        yield " + ".join(values), helm(values)


def examples():
    for file in sorted((HERE / "examples").glob("*.yaml")):
        yield f"examples/{file.name}", objects(file.read_text())
    yield "kustomize/example", objects(told(["kustomize", "build", HERE / "kustomize" / "example"]))


def same():
    for values, overlay, components in FORMS:
        chart, built = helm(values), kustomize(overlay, components)
        what = " + ".join(values)
        for key in sorted(chart.keys() | built.keys()):
            if chart.get(key) != built.get(key):
                where = "differs" if key in chart and key in built else "is in one of them only"
                problem(f"{what}: {shown(key)} {where}")
        print(f"{what}: {len(chart)} objects")


def strict(schema):
    """The schema of a CRD, refusing what it does not name, as the API server's strict validation does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema.pop("anyOf", None)
        schema["type"] = ["integer", "string"]
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and "properties" in schema and not is_open:
        schema["additionalProperties"] = False
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    return schema


def custom_schemas():
    found = {}
    for file in (HERE / "crds").glob("*.json"):
        spec = json.loads(file.read_text())["spec"]
        for version in spec["versions"]:
            schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
            properties = schema.setdefault("properties", {})
            properties.update(apiVersion={"type": "string"}, kind={"type": "string"}, metadata={"type": "object"})
            found[(f"{spec['group']}/{version['name']}", spec["names"]["kind"])] = strict(schema)
    return found


def schemas():
    custom = custom_schemas()
    count = 0
    for what, items in [*every_form(), *examples()]:
        for key, item in items.items():
            count += 1
            schema = custom.get(key[:2])
            if schema:
                for error in jsonschema.Draft202012Validator(schema).iter_errors(item):
                    problem(f"{what}: {shown(key)} at {error.json_path}: {error.message}")
                continue
            try:
                kubernetes_validate.validate(item, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                problem(f"{what}: {shown(key)} at {'.'.join(str(part) for part in error.path)}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError:
                problem(f"{what}: {shown(key)} has no schema; vendor its definition in crds/")
    print(f"{count} objects")


def pods(items):
    for key, item in items.items():
        if "template" in item.get("spec", {}) and key[1] in ("Deployment", "StatefulSet", "Job"):
            yield key, item, item["spec"]["template"]


def matches(selector, labels):
    return selector.items() <= labels.items()


def policies():
    for what, items in every_form():
        templates = [(key, template) for key, _, template in pods(items)]
        for key, owner, template in pods(items):
            for text in of_pod(items, key, owner, template):
                problem(f"{what}: {shown(key)} {text}")
        for key, item in items.items():
            for text in of_selector(key, item, templates):
                problem(f"{what}: {shown(key)} {text}")
        for key, template in templates:
            policies = [item for other, item in items.items() if other[1] == "NetworkPolicy" and matches(
                item["spec"]["podSelector"].get("matchLabels", {}), template["metadata"]["labels"])]
            kinds = {kind for policy in policies for kind in policy["spec"]["policyTypes"]}
            if kinds != {"Ingress", "Egress"}:
                problem(f"{what}: {shown(key)} is under no NetworkPolicy for {{'Ingress', 'Egress'}} - {kinds}")
        print(f"{what}: {len(templates)} pods")


def of_pod(items, key, owner, template):
    """What is wrong with a pod: Pod Security "restricted" and more."""
    spec = template["spec"]
    security = spec.get("securityContext", {})
    if security.get("runAsUser") != 65532 or not security.get("runAsNonRoot"):
        yield "does not run as 65532"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccompProfile RuntimeDefault"
    if spec.get("automountServiceAccountToken") is not False:
        yield "has a token of the API"
    if ("v1", "ServiceAccount", key[2], spec["serviceAccountName"]) not in items:
        yield "has a ServiceAccount that is not there"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    volumes |= {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}
    for container in spec["containers"]:
        mine = container.get("securityContext", {})
        if mine != {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}:
            yield "has a container that may more than it must"
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
            yield "has a container without requests of CPU and memory and a limit of memory"
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"mounts {mount['name']}, which is not there"
        for source in container.get("envFrom", []):
            if ("v1", "ConfigMap", key[2], source["configMapRef"]["name"]) not in items:
                yield f"has variables of {source['configMapRef']['name']}, which is not there"
        if key[1] != "Job":
            yield from of_role(items, key, spec, container)
    if key[1] == "Job":
        if not owner["spec"].get("activeDeadlineSeconds") or "podFailurePolicy" not in owner["spec"]:
            yield "has no deadline or no policy of failures"


def of_role(items, key, spec, container):
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container.get(probe, {}).get("httpGet", {}).get("port") != "admin":
            yield f"has no {probe} at the admin port"
    variables = settings_of(items, key, container)
    drain = int(variables["PENSTOCK__SHUTDOWN__DRAIN_TIMEOUT"].removesuffix("s"))
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    # src/cli/process: the drain, 1 s for what blocks, 3 s for the last words, and an export, 5 s by default.
    export = 5 if variables.get("PENSTOCK__TELEMETRY__OTLP__ENDPOINT") else 0
    if spec["terminationGracePeriodSeconds"] <= pause + drain + 1 + 3 + export:
        yield "is killed before it has stopped"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    if not variables["PENSTOCK__ADMIN__LISTEN"].endswith(f":{ports['admin']}"):
        yield "has another admin port than its settings"
    if "http" in ports and not variables["PENSTOCK__INTAKE__LISTEN"].endswith(f":{ports['http']}"):
        yield "has another port for clients than its settings"
    for name, value in variables.items():
        if "/run/secrets/penstock/" in value and not any(
                mount["mountPath"] == "/run/secrets/penstock" for mount in container["volumeMounts"]):
            yield f"has no file for {name}"


def settings_of(items, key, container):
    """The variables of a container as it sees them."""
    variables = {}
    for source in container.get("envFrom", []):
        variables |= items[("v1", "ConfigMap", key[2], source["configMapRef"]["name"])]["data"]
    for variable in container.get("env", []):
        variables[variable["name"]] = variable.get("value", "from-the-pod")
    return variables


def of_selector(key, item, templates):
    selector = {
        "Service": lambda: item["spec"].get("selector"),
        "PodDisruptionBudget": lambda: item["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": lambda: item["spec"]["podSelector"].get("matchLabels"),
    }.get(key[1], lambda: None)()
    selected = [template for _, template in templates if selector and matches(selector, template["metadata"]["labels"])]
    if selector and not selected:
        yield "selects no pod"
    if key[1] == "Service":
        for template in selected:
            names = {port["name"] for port in template["spec"]["containers"][0].get("ports", [])}
            for port in item["spec"]["ports"]:
                if port["targetPort"] not in names:
                    yield f"leads to the port {port['targetPort']}, which a pod has not"


def known_settings():
    def keys(table, prefix=()):
        for name, value in table.items():
            if isinstance(value, dict) and value:
                yield from keys(value, (*prefix, name))
            else:
                yield "PENSTOCK__" + "__".join((*prefix, name)).upper()

    return set(keys(tomllib.loads((ROOT / "config" / "default.toml").read_text())))


def known_metrics():
    """The metrics of src/telemetry as Prometheus has them."""
    found = set()
    for file in (ROOT / "src" / "telemetry").glob("**/*.rs"):
        text = file.read_text().split("#[cfg(test)]")[0]
        for place in re.finditer(r'"(penstock\.[a-z_.]+|process\.[a-z_.]+)"', text):
            name = place[1].replace(".", "_")
            before, after = text[:place.start()].rstrip()[-40:], text[place.end():place.end() + 120]
            unit = re.match(r'\s*,\s*"(s|By|)"\s*,', after) or re.search(r'\.with_unit\("(s|By)"\)', after)
            is_counter = re.search(r"\b(counter|u64_observable_counter)\($", before)
            # A helper of histograms gives them their unit.
            unit = "s" if re.search(r"\bseconds\($", before) else unit[1] if unit else ""
            if is_counter:
                found.add(name + "_total")
                continue
            name += {"s": "_seconds", "By": "_bytes", "": ""}[unit]
            found |= {name, *(name + end for end in ("_sum", "_count", "_bucket"))}
    return found


def names():
    settings, metrics = known_settings(), known_metrics()
    admin = (ROOT / "src" / "telemetry" / "admin.rs").read_text()
    cli = (ROOT / "src" / "cli" / "mod.rs").read_text()
    commands = {name.lower() for name in re.findall(r"^    (\w+)\((?:Box<)?\w+::\w+", cli, re.MULTILINE)}
    used = set()
    for what, items in [*every_form(), *examples()]:
        for key, _, template in pods(items):
            for container in template["spec"]["containers"]:
                if container["args"][0] not in commands:
                    problem(f"{what}: {shown(key)} runs penstock {container['args'][0]}, which there is not")
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    path = container.get(probe, {}).get("httpGet", {}).get("path")
                    if path and f'.route("{path}"' not in admin:
                        problem(f"{what}: {shown(key)} asks for {path}, which is not served")
                for name in settings_of(items, key, container):
                    if name.startswith("PENSTOCK") and name not in settings and name.removesuffix("_FILE") not in settings:
                        problem(f"{what}: {shown(key)} sets {name}, which there is not")
        for key, item in items.items():
            if key[1] not in ("ScaledObject", "PrometheusRule"):
                continue
            for metric in re.findall(r"\b(?:penstock|process)_[a-z_]+(?=[{\[)]|\{\{)", json.dumps(item)):
                used.add(metric)
                if metric not in metrics:
                    problem(f"{what}: {shown(key)} asks for {metric}, which there is not")
    print(f"{len(settings)} settings, {len(used)} of {len(metrics)} metrics are used")


def mistakes():
    count = 0
    for file in sorted((HERE / "chart" / "mistakes").glob("*.yaml")):
        count += 1
        wanted = re.search(r"^# refused: (.*)$", file.read_text(), re.MULTILINE)[1]
        command = ["helm", "template", "penstock", HERE / "chart", "--kube-version", "1.34.0",
                   "--values", HERE / "chart" / "examples" / "production.yaml", "--values", file]
        done = subprocess.run(command, capture_output=True, text=True)
        # The schema's words stand between the path and what is not allowed there.
        if done.returncode == 0:
            problem(f"{file.name} is taken")
        elif not all(part in done.stderr.replace("': ", "' ") for part in [wanted]):
            problem(f"{file.name} is refused without {wanted}:\n{done.stderr}")
    print(f"{count} files")


def settings(binary):
    """Has the binary read each role's settings, with files where the pod has them."""
    for what, items in every_form():
        for key, _, template in pods(items):
            container = template["spec"]["containers"][0]
            with tempfile.TemporaryDirectory() as directory:
                variables = {name: in_directory(value, directory) for name, value in
                             settings_of(items, key, container).items()}
                done = subprocess.run([binary, "config", "check"], capture_output=True, text=True,
                                      env=variables, cwd="/")
            if done.returncode != 0:
                problem(f"{what}: {shown(key)}: {done.stderr.strip()}")
        print(f"{what}: read")


def in_directory(value, directory):
    """Makes the files that a value names, and names them where they are made."""
    def made(path):
        file = pathlib.Path(directory) / path[0].lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(CONTENT.get(file.name, "secret") + "\n")
        return str(file)

    return re.sub(r"/(?:run/secrets|etc/penstock)/[\w./-]+", made, value)


AUTHORITY = pathlib.Path(os.environ.get("PENSTOCK_AUTHORITY", "/etc/ssl/certs/ca-certificates.crt"))
CONTENT = {
    "tokens": '[{"name": "core-banking", "sha256": "' + "0" * 64 + '"}]',
    "kafka-ca.crt": AUTHORITY.read_text() if AUTHORITY.exists() else "",
    "postgres-ca.crt": AUTHORITY.read_text() if AUTHORITY.exists() else "",
    "risk": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}

if __name__ == "__main__":
    {"same": same, "schemas": schemas, "policies": policies, "names": names, "mistakes": mistakes,
     "settings": settings}[sys.argv[1]](*sys.argv[2:])
    for text in problems:
        print(text, file=sys.stderr)
    sys.exit(bool(problems))
