"""The records of a submit: the request event (signed) and the `queued` hint."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from penstock_contracts.catalog import CE_REQUEST, ce_event_type
from penstock_contracts.codec import dumps
from penstock_contracts.envelope import CONTENT_TYPE, Headers, sign_attributes
from penstock_contracts.requests import Priority
from penstock_contracts.topics import EVENTS, request_topic
from penstock_kit.auth.principal import Principal
from penstock_kit.kafka.ports import OutRecord

from gateway.checking import CheckedJob
from gateway.views import rfc3339

__all__ = ["SOURCE", "RecordWriter", "RequestEvent", "Speaker"]

SOURCE = "/penstock/gateway"
"""`ce_source` of everything that gateways write."""
_PASSED_ON = (
    "model",
    "params",
    "priority",
    "conversation",
    "charge",
    "metadata",
    "streamed",
    "surface",
)
"""Members of a submit that go into the record as they came."""
_CE_QUEUED = ce_event_type("queued")


@dataclass(frozen=True, slots=True)
class Speaker:
    """The name and secret under which gateways sign; it may speak for every tenant."""

    producer: str
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent:
    """What a request record is made of, once the job is checked and has its id.

    `created_text` is `created_at` as it goes over the wire: it is needed four times.
    """

    job: str
    principal: Principal
    checked: CheckedJob
    created_at: datetime
    created_text: str
    deadline: datetime | None
    ends_by: datetime | None = None
    is_demoted: bool = False
    traceparent: str | None = None
    tracestate: str | None = None

    @property
    def priority(self) -> Priority:
        """The lane that the job goes to."""
        return Priority.LOW if self.is_demoted else self.checked.body.priority


class RecordWriter:
    """Turns jobs into records. No I/O.

    Headers are written by hand, once per job twice: a contract test holds them equal to
    `encode_headers`.
    """

    def __init__(self, *, speaker: Speaker) -> None:
        self._secret = speaker.secret
        self._request_headers: Headers = [
            *_static_headers(CE_REQUEST),
            ("ce_producer", speaker.producer.encode()),
        ]
        self._queued_headers = _static_headers(_CE_QUEUED)

    def request(
        self, event: RequestEvent, *, base_topic: str, input_ref: dict[str, Any] | None
    ) -> OutRecord:
        """The one durable write of a job. With `input_ref` the input lies outside of Kafka."""
        body, principal, job = event.checked.body, event.principal, event.job
        value = dumps(_request_value(event, input_ref))
        attributes = (job, SOURCE, CE_REQUEST, job, principal.tenant, principal.user)
        signature = sign_attributes(attributes, value, secret=self._secret)
        headers = [
            *self._request_headers,
            *_owner_headers(event, event_id=job),
            ("ce_priority", event.priority.value.encode()),
            ("ce_signature", signature.encode()),
        ]
        if event.deadline is not None:
            headers.append(("ce_deadline", rfc3339(event.deadline).encode()))
        return OutRecord(
            topic=request_topic(base_topic, event.priority),
            key=(body.conversation or job).encode(),
            value=value,
            headers=headers,
        )

    def queued(self, event: RequestEvent) -> OutRecord:
        """The hint that a job waits; readers of the stream see it as `0-1`."""
        return OutRecord(
            topic=EVENTS.name,
            key=event.job.encode(),
            value=dumps(_queued_value(event)),
            headers=[
                *self._queued_headers,
                *_owner_headers(event, event_id=f"{event.job}:0-1"),
                ("ce_attempt", b"0"),
                ("ce_seq", b"1"),
            ],
        )


def _static_headers(kind: str) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_source", SOURCE.encode()),
        ("ce_type", kind.encode()),
        ("content-type", CONTENT_TYPE.encode()),
    ]


def _owner_headers(event: RequestEvent, *, event_id: str) -> Headers:
    headers = [
        ("ce_id", event_id.encode()),
        ("ce_time", event.created_text.encode()),
        ("ce_subject", event.job.encode()),
        ("ce_tenant", event.principal.tenant.encode()),
        ("ce_user", event.principal.user.encode()),
    ]
    if event.traceparent is not None:
        headers.append(("traceparent", event.traceparent.encode()))
    if event.tracestate is not None:
        headers.append(("tracestate", event.tracestate.encode()))
    return headers


def _request_value(event: RequestEvent, input_ref: dict[str, Any] | None) -> dict[str, Any]:
    # Validated already, so parts of the caller's own object are written instead of model dumps.
    raw, body = event.checked.raw, event.checked.body
    value: dict[str, Any] = {"task": body.task}
    if input_ref is None:
        value["input"] = event.checked.input
    else:
        value["input_ref"] = input_ref
    for name in _PASSED_ON:
        given = raw.get(name)
        if given is not None:
            value[name] = given
    if event.is_demoted:
        value |= {"priority": event.priority.value, "demoted": True}
    value |= _limits(event)
    value["user"] = event.principal.user
    return value


def _limits(event: RequestEvent) -> dict[str, str]:
    limits = {"deadline": event.deadline, "ends_by": event.ends_by}
    return {name: rfc3339(at) for name, at in limits.items() if at is not None}


def _queued_value(event: RequestEvent) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": "queued",
        "job": event.job,
        "attempt": 0,
        "seq": 1,
        "at": event.created_text,
        "task": event.checked.body.task,
        "user": event.principal.user,
        "priority": event.priority.value,
    }
    if event.is_demoted:
        value["demoted"] = True
    for name in ("model", "conversation", "metadata"):
        given = event.checked.raw.get(name)
        if given:
            value[name] = given
    value |= _limits(event)
    return value
