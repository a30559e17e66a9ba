#!/usr/bin/env python3
"""Puts penstock's own settings into the chart's schema, from `penstock config schema`.

    deploy/kubernetes/schema.py BINARY             writes chart/values.schema.json
    deploy/kubernetes/schema.py BINARY --check     only tells whether it is up to date

Everything else in that file is written by hand.
"""

import json
import pathlib
import subprocess
import sys

SCHEMA = pathlib.Path(__file__).parent / "chart" / "values.schema.json"

# What the chart decides, and what is a secret: files of Secrets hold those.
NOT_IN_VALUES = [
    "data_dir", "admin", "shutdown", "intake.listen", "queue.kind", "store.kind", "queue.kafka.instance_id",
    "queue.kafka.security.password", "queue.kafka.security.key_password", "queue.kafka.security.oidc.client_secret",
    "store.postgres.password_file", "callbacks.endpoints[].secrets", "callbacks.operator.secrets",
    "telemetry.otlp.headers",
]
NO_PASSWORD_IN_URL = "^postgres(ql)?://([^:@/?]+@)?[^@]+$"


def section(schema, path):
    """The schema that has the last part of a path among its properties, and that part."""
    *parts, last = path.split(".")
    for part in parts:
        schema = schema["properties"][part.removesuffix("[]")]
        if part.endswith("[]"):
            schema = schema["items"]
    return schema, last


def settings_schema(binary):
    told = subprocess.run([binary, "config", "schema"], check=True, capture_output=True, text=True).stdout
    schema = json.loads(told)
    for path in NOT_IN_VALUES:
        where, last = section(schema, path)
        del where["properties"][last]
        if last in where.get("required", []):
            where["required"].remove(last)
    for path, pattern in [("store.postgres.url", NO_PASSWORD_IN_URL),
                          ("store.postgres.replica_url", f"^$|{NO_PASSWORD_IN_URL}")]:
        where, last = section(schema, path)
        told = where["properties"][last]["description"].removesuffix(".")
        where["properties"][last] = {"type": "string", "pattern": pattern,
                                     "description": f"{told}; without a password."}
    for key in ("$schema", "title"):
        schema.pop(key, None)
    return schema


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--check"]):
        sys.exit(__doc__)
    whole = json.loads(SCHEMA.read_text())
    whole["$defs"]["settings"] = settings_schema(sys.argv[1])
    text = json.dumps(whole, indent=2, sort_keys=False) + "\n"
    if sys.argv[2:]:
        if text != SCHEMA.read_text():
            sys.exit(f"{SCHEMA} is not what the settings are: run deploy/kubernetes/schema.py {sys.argv[1]}")
    else:
        SCHEMA.write_text(text)


main()
