"""Job events as workers write them: builders for everything that reads the events topic."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import Any

from penstock_contracts.catalog import ce_event_type
from penstock_contracts.codec import dumps
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.events import Position
from penstock_contracts.topics import EVENTS
from penstock_kit.jobs.view import StoredEvent
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.tail.tailed import TailedEvent

__all__ = ["AT", "a_job", "an_event", "as_record", "as_stored", "event_fields", "text_of"]

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

_FIELDS: dict[str, dict[str, Any]] = {
    "queued": {"task": "chat"},
    "started": {"task": "chat", "worker": "w1"},
    "reset": {"reason": "retry"},
    "retrying": {
        "delay_s": 1.0,
        "next_attempt": 2,
        "error": {"type": "server_error", "code": "provider_failed", "message": "again soon"},
    },
    "failed": {
        "error": {"type": "server_error", "code": "provider_failed", "message": "gave up"},
        "usage": {"input_tokens": 3},
    },
    "cancelled": {"by": "ann"},
    "expired": {"deadline": "2026-01-02T03:04:05.000Z"},
    "unknown_outcome": {
        "error": {"type": "server_error", "code": "unknown_outcome", "message": "nobody knows"}
    },
}


def a_job(name: str = "one") -> str:
    """A derived job id, the same for the same name."""
    return "job_" + hashlib.sha256(name.encode()).hexdigest()[:32]


def event_fields(job: str, kind: str, place: str, *, text: str = "") -> dict[str, Any]:
    """The JSON members of an event; `text` is a delta's piece or the completed answer."""
    position = Position.parse(place)
    fields: dict[str, Any] = {
        "type": kind,
        "job": job,
        "attempt": position.attempt,
        "seq": position.seq,
        "at": "2026-01-02T03:04:05.000Z",
        **_FIELDS.get(kind, {}),
    }
    if kind == "delta":
        fields["deltas"] = [{"type": "text", "choice": 0, "text": text}]
    if kind == "completed":
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        fields["output"] = {"kind": "chat", "choices": [choice]}
        fields |= {"model": "small", "provider": "local"}
    return fields


def an_event(
    kind: str,
    place: str,
    *,
    job: str | None = None,
    tenant: str = "acme",
    user: str | None = "ann",
    text: str = "",
) -> TailedEvent:
    """An event as the tail hands it on."""
    job = job or a_job()
    return TailedEvent(
        job,
        Position.parse(place),
        kind,
        tenant,
        user,
        dumps(event_fields(job, kind, place, text=text)),
    )


def as_record(event: TailedEvent, *, topic: str = EVENTS.name) -> OutRecord:
    """The Kafka record that a worker writes for the event."""
    envelope = Envelope(
        id=f"{event.job}-{event.position}",
        source="test",
        type=ce_event_type(event.type),
        time=AT,
        subject=event.job,
        tenant=event.tenant,
        user=event.user,
        attempt=event.position.attempt,
        seq=event.position.seq,
    )
    return OutRecord(topic, event.job.encode(), event.value, encode_headers(envelope))


def as_stored(event: TailedEvent) -> StoredEvent:
    """The event as the recorder keeps it."""
    return StoredEvent(event.position, event.type, event.value)


def text_of(output: dict[str, Any]) -> str:
    """The text of the first choice of a completed chat."""
    return str(output["choices"][0]["text"])
