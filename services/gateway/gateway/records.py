"""The records of a submit: the request event (signed) and the `queued` hint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from penstock_contracts.catalog import CE_REQUEST, ce_event_type
from penstock_contracts.codec import dumps
from penstock_contracts.envelope import Envelope, encode_headers, sign
from penstock_contracts.topics import EVENTS, request_topic
from penstock_kit.auth.principal import Principal
from penstock_kit.kafka.ports import OutRecord

from gateway.checking import CheckedJob
from gateway.views import rfc3339

__all__ = ["SOURCE", "RecordWriter", "RequestEvent", "Speaker"]

SOURCE = "/penstock/gateway"
"""`ce_source` of everything that gateways write."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """The name and secret under which gateways sign; it may speak for every tenant."""

    producer: str
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent:
    """What a request record is made of, once the job is checked and has its id."""

    job: str
    principal: Principal
    checked: CheckedJob
    created_at: datetime
    deadline: datetime | None
    traceparent: str | None = None
    tracestate: str | None = None


class RecordWriter:
    """Turns jobs into records. No I/O."""

    def __init__(self, *, speaker: Speaker) -> None:
        self._speaker = speaker

    def request(
        self, event: RequestEvent, *, base_topic: str, input_ref: dict[str, Any] | None
    ) -> OutRecord:
        """The one durable write of a job. With `input_ref` the input lies outside of Kafka."""
        body = event.checked.body
        value = dumps(_request_value(event, input_ref))
        envelope = Envelope(
            id=event.job,
            source=SOURCE,
            type=CE_REQUEST,
            time=event.created_at,
            subject=event.job,
            tenant=event.principal.tenant,
            user=event.principal.user,
            priority=body.priority.value,
            deadline=None if event.deadline is None else rfc3339(event.deadline),
            producer=self._speaker.producer,
            traceparent=event.traceparent,
            tracestate=event.tracestate,
        )
        signed = replace(envelope, signature=sign(envelope, value, secret=self._speaker.secret))
        return OutRecord(
            topic=request_topic(base_topic, body.priority),
            key=(body.conversation or event.job).encode(),
            value=value,
            headers=encode_headers(signed),
        )

    def queued(self, event: RequestEvent) -> OutRecord:
        """The hint that a job waits; readers of the stream see it as `0-1`."""
        envelope = Envelope(
            id=f"{event.job}:0-1",
            source=SOURCE,
            type=ce_event_type("queued"),
            time=event.created_at,
            subject=event.job,
            tenant=event.principal.tenant,
            user=event.principal.user,
            attempt=0,
            seq=1,
            traceparent=event.traceparent,
            tracestate=event.tracestate,
        )
        return OutRecord(
            topic=EVENTS.name,
            key=event.job.encode(),
            value=dumps(_queued_value(event)),
            headers=encode_headers(envelope),
        )


def _request_value(event: RequestEvent, input_ref: dict[str, Any] | None) -> dict[str, Any]:
    # Validated already, so parts of the caller's own object are written instead of model dumps.
    raw, body = event.checked.raw, event.checked.body
    value: dict[str, Any] = {"task": body.task}
    if input_ref is None:
        value["input"] = event.checked.input
    else:
        value["input_ref"] = input_ref
    for name in ("model", "params", "priority", "conversation", "charge", "metadata"):
        given = raw.get(name)
        if given is not None:
            value[name] = given
    if event.deadline is not None:
        value["deadline"] = rfc3339(event.deadline)
    value["user"] = event.principal.user
    return value


def _queued_value(event: RequestEvent) -> dict[str, Any]:
    body = event.checked.body
    value: dict[str, Any] = {
        "type": "queued",
        "job": event.job,
        "attempt": 0,
        "seq": 1,
        "at": rfc3339(event.created_at),
        "task": body.task,
        "user": event.principal.user,
        "priority": body.priority.value,
    }
    for name in ("model", "conversation", "metadata"):
        given = event.checked.raw.get(name)
        if given:
            value[name] = given
    if event.deadline is not None:
        value["deadline"] = rfc3339(event.deadline)
    return value
