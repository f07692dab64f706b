"""Our envelope and the CloudEvents SDK read each other's records, in both modes."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from cloudevents.core.bindings.kafka import (
    KafkaMessage,
    from_binary,
    from_structured,
    to_binary,
    to_structured,
)
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from penstock_contracts.envelope import Envelope, decode_event, encode_headers

DATA = {"task": "chat", "input": {"messages": [{"role": "user", "content": "Grüße"}]}}
TIME = datetime(2026, 11, 21, 12, 0, 0, 123000, tzinfo=timezone.utc)
OURS = Envelope(
    id="e-1",
    source="/orders",
    type="penstock.job.request.v1",
    time=TIME,
    subject="job_1",
    tenant="acme",
    user="ada",
    attempt=2,
    seq=17,
    priority="high",
    extra={"partitionkey": "c-42"},
)


def _sdk_event() -> CloudEvent:
    attributes = {
        "id": "e-1", "source": "/orders", "type": "penstock.job.request.v1", "time": TIME,
        "subject": "job_1",
        "tenant": "acme", "user": "ada", "attempt": "2", "seq": "17", "priority": "high",
        "partitionkey": "c-42",
        "datacontenttype": "application/json", "specversion": "1.0",
    }  # fmt: skip
    return CloudEvent(attributes=attributes, data=DATA)


def test_sdk_reads_our_binary_record() -> None:
    message = KafkaMessage(
        headers=dict(encode_headers(OURS)), key=None, value=json.dumps(DATA).encode()
    )

    event = from_binary(message, JSONFormat())

    assert event.get_attributes() == _sdk_event().get_attributes()
    assert event.get_data() == DATA


def test_we_read_the_sdk_s_binary_record() -> None:
    message = to_binary(_sdk_event(), JSONFormat())
    assert isinstance(message.value, bytes)

    envelope, data = decode_event(list(message.headers.items()), message.value)

    assert envelope == OURS
    assert json.loads(data) == DATA


def test_we_read_the_sdk_s_structured_record() -> None:
    message = to_structured(_sdk_event(), JSONFormat())

    envelope, data = decode_event(list(message.headers.items()), message.value)

    assert envelope == OURS
    assert json.loads(data) == DATA


def test_sdk_round_trip_of_structured_mode_agrees_with_ours() -> None:
    message = to_structured(_sdk_event(), JSONFormat())

    assert (
        from_structured(message, JSONFormat()).get_id()
        == decode_event(list(message.headers.items()), message.value)[0].id
    )
