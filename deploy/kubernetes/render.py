"""Writes the objects of the Kustomize form, one a file, as the chart renders them. Called by render.sh.

What the embedded and the production form have in common is the base, the rest an overlay each. What a further file of
values adds is a component. The kustomization.yaml files list what is there; what they patch is written by hand.
"""

import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
CHART = HERE / "chart"
FORMS = ["embedded", "production"]
# Component, and the form that it is rendered with.
COMPONENTS = {"gateway": "production", "ingress": "production", "keda": "production", "monitoring": "production"}
LISTED = re.compile(r"^# Rendered\.\nresources:\n(?:  - .*\n)*", re.MULTILINE)


def rendered(*values):
    """The chart's objects with these files of values: file name to text."""
    command = ["helm", "template", "penstock", CHART, "--namespace", "penstock",
               "--kube-version", "1.34.0"]
    for name in values:
        command += ["--values", CHART / "examples" / f"{name}.yaml"]
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode != 0:
        sys.exit(f"helm template failed:\n{told.stderr}")
    objects = {}
    for text in re.split(r"^---\n", told.stdout, flags=re.MULTILINE):
        text = re.sub(r"^# Source: .*\n", "", text, flags=re.MULTILINE).strip() + "\n"
        kind = re.search(r"^kind: (\S+)$", text, re.MULTILINE)
        name = re.search(r"^  name: (\S+)$", text, re.MULTILINE)
        if kind and name:
            objects[f"{kind[1].lower()}-{name[1]}.yaml"] = text
    return objects


def write(directory, objects, base=()):
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.yaml"):
        if old.name != "kustomization.yaml":
            old.unlink()
    for name, text in objects.items():
        (directory / name).write_text(text)
    listed = "# Rendered.\nresources:\n" + "".join(f"  - {entry}\n" for entry in [*base, *sorted(objects)])
    kustomization = directory / "kustomization.yaml"
    kept = kustomization.read_text() if kustomization.exists() else (
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\n# Rendered.\nresources:\n")
    kustomization.write_text(LISTED.sub(lambda _: listed, kept, count=1))


def main(target):
    forms = {form: rendered(form) for form in FORMS}
    shared = {name: text for name, text in forms["embedded"].items()
              if all(objects.get(name) == text for objects in forms.values())}
    write(target / "base", shared)
    for form, objects in forms.items():
        own = {name: text for name, text in objects.items() if name not in shared}
        write(target / "overlays" / form, own, base=["../../base"])
    for component, form in COMPONENTS.items():
        added = {name: text for name, text in rendered(form, component).items() if name not in forms[form]}
        write(target / "components" / component, added)


main(pathlib.Path(sys.argv[1]))
