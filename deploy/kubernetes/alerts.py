"""Tries the rendered alerts, and the queries that KEDA scales by, on series that are made up. Called by check.sh."""

import json
import pathlib
import subprocess
import sys
import tempfile

import yaml

HERE = pathlib.Path(__file__).parent
IN = 'namespace="penstock"'
# Alert, its series, and the minute at which it must fire; before that, and on quiet series, it must not.
ALERTS = [
    ("PenstockGone", {}, 6),
    ("PenstockRefusesBatches", {f'penstock_intake_batches_total{{{IN},status="200"}}': "0+60x30",
                                f'penstock_intake_batches_total{{{IN},status="503"}}': "0+6x30"}, 12),
    ("PenstockWorkersBehind", {f'penstock_worker_lag_seconds{{{IN},lane="0"}}': "400x30"}, 11),
    ("PenstockDeadLetters", {f'penstock_worker_dead_letters_total{{{IN},reason="not_an_account"}}': "0 0 3+0x30"}, 4),
    ("PenstockMisplacedRecords", {f'penstock_kafka_consumer_misplaced_total{{{IN},client="w"}}': "0 0 3+0x30"}, 4),
    ("PenstockStoreRetries", {f'penstock_worker_retries_total{{{IN},reason="store"}}': "0+120x30"}, 14),
    ("PenstockKafkaClientsReplaced", {f'penstock_kafka_client_rebuilds_total{{{IN},reason="stalled"}}': "0+1x30"}, 12),
    ("PenstockEndpointFails", {f'penstock_callbacks_breaker_open{{{IN},endpoint="risk"}}': "1x30"}, 16),
    ("PenstockDeliveriesGivenUp",
     {f'penstock_callbacks_deliveries_total{{{IN},endpoint="risk",state="exhausted"}}': "0 0 3+0x30"}, 4),
    ("PenstockLogDropped", {f'penstock_log_dropped_total{{{IN}}}': "0 0 3+0x30"}, 4),
]
# Trigger, its series, and what it must say at 10 minutes.
QUERIES = [
    ("lag", {f'penstock_worker_lag_seconds{{{IN},pod="a",lane="0"}}': "12x20",
             f'penstock_worker_lag_seconds{{{IN},pod="b",lane="1"}}': "90x20"}, 90),
    ("store", {f'penstock_store_operation_duration_seconds_sum{{{IN},pod="a",operation="apply"}}': "0+45x20",
               f'penstock_store_operation_duration_seconds_count{{{IN},pod="a",operation="apply"}}': "0+60x20"}, 0.75),
    # Nothing to do is no slow store.
    ("store", {f'penstock_store_operation_duration_seconds_sum{{{IN},pod="a",operation="apply"}}': "9x20",
               f'penstock_store_operation_duration_seconds_count{{{IN},pod="a",operation="apply"}}': "9x20"}, 0),
    ("unread", {f'penstock_callbacks_lag_records{{{IN},pod="a"}}': "5x20",
                f'penstock_callbacks_lag_records{{{IN},pod="b"}}': "7x20"}, 12),
    # Of three endpoints one works, one is down, one is paused.
    ("parked", {f'penstock_callbacks_{name}{{{IN},pod="{pod}",endpoint="{endpoint}"}}': f"{value}x20"
                for endpoint, values in {"works": (3, 0, 1), "down": (50, 1, 1), "paused": (70, 0, 0)}.items()
                for pod in ("a", "b")
                for name, value in zip(("backlog", "breaker_open", "endpoint_active"), values)
                if (name, pod) != ("backlog", "b")}, 3),
]


def rendered():
    command = ["helm", "template", "penstock", HERE / "chart", "--namespace", "penstock", "--kube-version", "1.34.0"]
    for name in ("production", "monitoring", "keda"):
        command += ["--values", HERE / "chart" / "examples" / f"{name}.yaml"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [item for item in yaml.safe_load_all(told) if item]


def main():
    items = rendered()
    rules = next(item["spec"] for item in items if item["kind"] == "PrometheusRule")
    known = {rule["alert"]: rule for rule in rules["groups"][0]["rules"]}
    untried = known.keys() - {name for name, _, _ in ALERTS}
    if untried:
        sys.exit(f"no series try {', '.join(sorted(untried))}: add them to alerts.py")
    queries = {trigger["name"]: trigger["metadata"]["query"] for item in items if item["kind"] == "ScaledObject"
               for trigger in item["spec"]["triggers"]}

    def series(values):
        return [{"series": name, "values": text} for name, text in values.items()]

    def fires(name, minute, is_firing):
        # Which labels and texts it fires with is not looked at: that it fires is.
        query = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
        return {"expr": query, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": int(is_firing)}]}

    tests = [{"interval": "1m", "input_series": series(values),
              "promql_expr_test": [fires(name, 1, False), fires(name, minute, True)]}
             for name, values, minute in ALERTS]
    quiet = {"penstock_build_info{" + IN + "}": "1x60", f'penstock_intake_batches_total{{{IN},status="200"}}': "0+60x60",
             f'penstock_worker_lag_seconds{{{IN},lane="0"}}': "1x60"}
    tests.append({"interval": "1m", "input_series": series(quiet),
                  "promql_expr_test": [fires(name, 45, False) for name in known]})
    tests += [{"interval": "1m", "input_series": series(values), "promql_expr_test": [
        {"expr": queries[name], "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": value}]}]}
        for name, values, value in QUERIES]
    with tempfile.TemporaryDirectory() as directory:
        file, test = pathlib.Path(directory, "rules.json"), pathlib.Path(directory, "test.json")
        file.write_text(json.dumps(rules))
        test.write_text(json.dumps({"rule_files": [str(file)], "evaluation_interval": "1m", "tests": tests}))
        for command in (["promtool", "check", "rules", file], ["promtool", "test", "rules", test]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(done.stdout + done.stderr)
    print(f"{len(known)} alerts, {len(QUERIES)} queries")


main()
