"""Job events as records: a general way, and a lean one for deltas.

A contract test holds both equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from penstock_contracts.catalog import ce_event_type
from penstock_contracts.codec import encode_model
from penstock_contracts.envelope import CONTENT_TYPE, Envelope, encode_headers
from penstock_contracts.events import TERMINAL, JobEvent, Position
from penstock_contracts.parts import Delta, TextDelta
from penstock_contracts.replies import ReplyAddress
from penstock_contracts.topics import EVENTS

from penstock_kit.kafka.ports import OutRecord
from penstock_kit.telemetry.tracing import TraceContext

__all__ = ["DeltaRecords", "Face", "encode_job_event", "event_id"]


@dataclass(frozen=True, slots=True)
class Face:
    """What readers of headers learn of a job that is an object of another API.

    Attributes:
        surface: kind of the object, for example `response`.
        finish: why the output ended; on `completed` only.
    """

    surface: str
    finish: str | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """As extension attributes of the event."""
        found = {"surface": self.surface}
        if self.finish is not None:
            found["finish"] = self.finish
        return found


def event_id(job: str, position: Position) -> str:
    """The `ce_id` of a job event: the same place always has the same id, so duplicates show."""
    return f"{job}/{position}"


def encode_job_event(
    event: JobEvent,
    *,
    tenant: str,
    user: str | None,
    source: str,
    trace: TraceContext | None = None,
    face: Face | None = None,
    reply: ReplyAddress | None = None,
) -> OutRecord:
    """The record of an event, with every CloudEvents attribute that readers route by.

    `reply` is told with the job's end alone.
    """
    envelope = Envelope(
        id=event_id(event.job, event.position),
        source=source,
        type=ce_event_type(event.type),
        time=event.at,
        subject=event.job,
        tenant=tenant,
        user=user,
        attempt=event.attempt,
        seq=event.seq,
        traceparent=trace.traceparent if trace is not None else None,
        tracestate=(trace.state or None) if trace is not None else None,
        reply=reply if event.type in TERMINAL else None,
        extra={} if face is None else face.attributes,
    )
    return OutRecord(
        topic=EVENTS.name,
        key=event.job.encode(),
        value=encode_model(event),
        headers=encode_headers(envelope),
    )


class DeltaRecords:
    """Makes the delta records of one attempt: whatever does not change is encoded once."""

    def __init__(
        self,
        *,
        job: str,
        tenant: str,
        user: str | None,
        attempt: int,
        source: str,
        trace: TraceContext | None,
    ) -> None:
        self._job = job
        self._attempt = attempt
        self._key = job.encode()
        self._id_prefix = f"{job}/{attempt}-".encode()
        self._before_id = ("ce_specversion", b"1.0")
        self._before_time = [
            ("ce_source", source.encode()),
            ("ce_type", ce_event_type("delta").encode()),
            ("content-type", CONTENT_TYPE.encode()),
        ]
        self._before_seq = [("ce_subject", self._key), ("ce_tenant", tenant.encode())]
        if user is not None:
            self._before_seq.append(("ce_user", user.encode()))
        self._before_seq.append(("ce_attempt", str(attempt).encode()))
        self._after_seq: list[tuple[str, bytes]] = []
        if trace is not None:
            self._after_seq.append(("traceparent", trace.traceparent.encode()))
            if trace.state:
                self._after_seq.append(("tracestate", trace.state.encode()))

    def record(self, deltas: Sequence[Delta], *, seq: int, at: datetime) -> OutRecord:
        """The record of one delta event; `at` is in UTC."""
        time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        number = str(seq).encode()
        body = {
            "job": self._job,
            "attempt": self._attempt,
            "seq": seq,
            "at": time,
            "type": "delta",
            "deltas": [_plain(delta) for delta in deltas],
        }
        return OutRecord(
            EVENTS.name,
            self._key,
            _dumps(body),
            [
                self._before_id,
                ("ce_id", self._id_prefix + number),
                *self._before_time,
                ("ce_time", time.encode()),
                *self._before_seq,
                ("ce_seq", number),
                *self._after_seq,
            ],
        )


def _plain(delta: Delta) -> dict[str, Any]:
    if type(delta) is TextDelta and delta.logprobs is None:
        # Nearly every delta; pydantic's general way costs four times as much.
        return {"choice": delta.choice, "type": "text", "text": delta.text}
    return delta.model_dump(exclude_none=True)


def _dumps(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        # A provider may cut an emoji into two lone surrogates, which are no UTF-8.
        for delta in body["deltas"]:
            for name, value in delta.items():
                if isinstance(value, str):
                    delta[name] = value.encode(errors="replace").decode()
        return orjson.dumps(body)
