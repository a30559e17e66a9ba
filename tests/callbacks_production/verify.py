#!/usr/bin/env python3
"""Checks recorded deliveries the way an independent receiver does: signatures with the PyPI package
standardwebhooks, events with the PyPI package cloudevents.

    verify.py --secret whsec_... FILE     every request is signed with this secret and holds its events

FILE has one request a line: {"headers": {name: value}, "body": base64, "events": [...]}, where an event
tells what the receiver must read: {"id", "source", "type", "subject", "data"}. Prints how many requests
and events it has accepted. Exits with 1 at the first request it refuses, and says why; with 2 when a
package is missing.
"""

import argparse
import base64
import json
import sys

try:
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event
    from cloudevents.core.formats.json import JSONFormat
    from standardwebhooks.webhooks import Webhook
except ImportError as missing:
    print(
        f"verify.py: {missing}: run the tests by tests/run.sh or tests/callbacks.sh, which install it",
        file=sys.stderr,
    )
    sys.exit(2)

BATCH = "application/cloudevents-batch+json"


def events_of(headers, body):
    """The events that a request holds, read by the cloudevents package."""
    if headers["content-type"] != BATCH:
        if headers["webhook-id"] != headers["ce-id"]:
            raise ValueError("webhook-id is not the event's id")
        return [from_http_event(HTTPMessage(headers=headers, body=body))]
    # The package has no batch format, which is a JSON array of events in JSON format.
    return [JSONFormat().read(None, json.dumps(event)) for event in json.loads(body)]


def told(event):
    """What a receiver reads of an event."""
    data = event.get_data()
    return {
        "id": event.get_id(),
        "source": event.get_source(),
        "type": event.get_type(),
        "subject": event.get_subject(),
        "data": data if isinstance(data, dict) else json.loads(data),
    }


def check(request, webhook):
    """Refuses a request by an exception; returns how many events it has."""
    headers, body = request["headers"], base64.b64decode(request["body"])
    webhook.verify(body, headers)
    found = [told(event) for event in events_of(headers, body)]
    if found != request["events"]:
        raise ValueError(f"expected {request['events']}, read {found}")
    return len(found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--secret", required=True)
    parser.add_argument("file")
    arguments = parser.parse_args()
    webhook = Webhook(arguments.secret)
    requests = events = 0
    with open(arguments.file, encoding="utf-8") as lines:
        for line in lines:
            try:
                events += check(json.loads(line), webhook)
            except Exception as refusal:  # whatever the packages raise is a refusal
                print(f"request {requests + 1}: {type(refusal).__name__}: {refusal}")
                sys.exit(1)
            requests += 1
    print(f"{requests} requests, {events} events")


if __name__ == "__main__":
    main()
