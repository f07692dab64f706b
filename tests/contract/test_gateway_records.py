"""The headers that the gateway writes by hand are those of the envelope's own encoder."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from gateway.checking import CheckedJob
from gateway.models import SubmitBody
from gateway.records import RecordWriter, RequestEvent, Speaker
from gateway.views import rfc3339
from penstock_contracts.codec import decode_model
from penstock_contracts.credentials import Scope
from penstock_contracts.envelope import decode_event, encode_headers, signature_is_valid
from penstock_contracts.events import Queued
from penstock_contracts.requests import JobRequest, TaskKind
from penstock_kit.auth.principal import Principal
from penstock_kit.tasks import TaskType

SECRET = b"s" * 32
NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)
JOB = "job_" + "0" * 42


@pytest.fixture
def event() -> RequestEvent:
    raw: dict[str, Any] = {
        "task": "chat",
        "input": {"messages": [{"role": "user", "content": "hi"}]},
        "model": "small",
        "params": {"temperature": 0.5},
        "priority": "high",
        "conversation": "c-1",
        "deadline_s": 60,
        "charge": "at_most_once",
        "metadata": {"a": "b"},
    }
    return RequestEvent(
        job=JOB,
        principal=Principal("acme", "ann", Scope.USER, "key"),
        checked=CheckedJob(
            SubmitBody.model_validate(raw),
            raw,
            raw["input"],
            TaskType(kind=TaskKind.CHAT),
        ),
        created_at=NOW,
        created_text=rfc3339(NOW),
        deadline=NOW + timedelta(seconds=60),
        ends_by=NOW + timedelta(seconds=90),
        traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01",
        tracestate="a=b",
    )


def test_request_record_when_decoded_has_the_headers_of_the_encoder(event: RequestEvent) -> None:
    writer = RecordWriter(speaker=Speaker("gateway", SECRET))

    record = writer.request(event, base_topic="ai.chat.requests.v1", input_ref=None)

    envelope, data = decode_event(record.headers, record.value)
    assert sorted(record.headers) == sorted(encode_headers(envelope))
    assert signature_is_valid(envelope, data, secret=SECRET)
    assert (record.topic, record.key) == ("ai.chat.requests.v1.high", b"c-1")
    request = decode_model(JobRequest, data)
    assert (request.user, request.params.temperature) == ("ann", 0.5)
    assert (request.deadline, request.ends_by) == (event.deadline, event.ends_by)


def test_queued_record_when_decoded_is_a_queued_event(event: RequestEvent) -> None:
    writer = RecordWriter(speaker=Speaker("gateway", SECRET))

    record = writer.queued(event)

    envelope, data = decode_event(record.headers, record.value)
    assert sorted(record.headers) == sorted(encode_headers(envelope))
    queued = decode_model(Queued, data)
    assert (str(queued.position), queued.task, queued.priority) == ("0-1", "chat", "high")
    assert (queued.deadline, queued.ends_by) == (event.deadline, event.ends_by)
