"""Builders of what the topics hold of a job."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from penstock_contracts.catalog import CE_DELETED, CE_REQUEST, ce_event_type
from penstock_contracts.codec import dumps
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.ids import JobIds, new_uuid7
from penstock_kit.intake import Intake, VerifiedRequest
from penstock_kit.kafka.ports import Record
from penstock_kit.tasks import TaskCatalog

__all__ = [
    "IDS",
    "T0",
    "completed",
    "deleted",
    "delta",
    "event_record",
    "job_id",
    "request_record",
    "started",
    "verified",
]

IDS = JobIds(b"0123456789abcdef0123456789abcdef")
T0 = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)
"""Recent: recorders forget what is old."""
EVENTS_TOPIC = "ai.jobs.events.v1"


def job_id(number: int, *, tenant: str = "acme") -> str:
    """The id of the n-th job of a tenant."""
    uuid: UUID = new_uuid7(now_ms=number, randomness=number.to_bytes(10, "big"))
    return IDS.issue(tenant=tenant, uuid=uuid)


def request_record(
    job: str,
    *,
    tenant: str = "acme",
    user: str | None = "ann",
    task: str = "chat",
    at: datetime = T0,
    offset: int = 0,
    **members: Any,
) -> Record:
    """A request as the gateway writes it."""
    envelope = Envelope(
        id=job, source="/gateway", type=CE_REQUEST, time=at, subject=job, tenant=tenant, user=user
    )
    body = {"task": task, "user": user, "input": {"messages": [{"role": "user", "content": "hi"}]}}
    return Record(
        topic=f"ai.{task}.requests.v1",
        partition=0,
        offset=offset,
        key=job.encode(),
        value=dumps({**body, **members}),
        headers=encode_headers(envelope),
        timestamp_ms=int(at.timestamp() * 1000),
    )


def verified(record: Record) -> VerifiedRequest:
    """The request after intake."""
    return Intake(tasks=TaskCatalog.builtin(), ids=IDS, secrets=None).verify(record)


def event_record(
    job: str,
    kind: str,
    place: tuple[int, int],
    *,
    tenant: str = "acme",
    user: str | None = "ann",
    offset: int = 0,
    partition: int = 0,
    at: datetime | None = None,
    **members: Any,
) -> Record:
    """A job event as workers write it."""
    attempt, seq = place
    moment = at or T0 + timedelta(seconds=attempt * 100 + seq)
    body = {"type": kind, "job": job, "attempt": attempt, "seq": seq, "at": moment.isoformat()}
    envelope = Envelope(
        id=f"{job}/{attempt}-{seq}",
        source="/worker",
        type=ce_event_type(kind),
        time=moment,
        subject=job,
        tenant=tenant,
        user=user,
        attempt=attempt,
        seq=seq,
    )
    return Record(
        topic=EVENTS_TOPIC,
        partition=partition,
        offset=offset,
        key=job.encode(),
        value=dumps({**body, **members}),
        headers=encode_headers(envelope),
        timestamp_ms=int(moment.timestamp() * 1000),
    )


def started(job: str, attempt: int = 1, *, seq: int = 1, **members: Any) -> Record:
    """An attempt begins."""
    about = {"task": "chat", "worker": "w1", "model": "m", "provider": "p"}
    return event_record(job, "started", (attempt, seq), **{**about, **members})


def delta(job: str, place: tuple[int, int], text: str = "x", **members: Any) -> Record:
    """A piece of output."""
    return event_record(job, "delta", place, deltas=[{"type": "text", "text": text}], **members)


def completed(job: str, place: tuple[int, int], text: str = "done", **members: Any) -> Record:
    """The result."""
    choice = {"index": 0, "text": text, "finish_reason": "stop"}
    output = {"kind": "chat", "choices": [choice]}
    usage = {"input_tokens": 3, "output_tokens": 2, "cost_usd": "0.01"}
    return event_record(job, "completed", place, output=output, usage=usage, **members)


def deleted(job: str, *, tenant: str = "acme", offset: int = 0) -> Record:
    """Its owner wants the job's content gone."""
    at = T0 + timedelta(seconds=1000)
    envelope = Envelope(
        id=f"{job}:deleted",
        source="/gateway",
        type=CE_DELETED,
        time=at,
        subject=job,
        tenant=tenant,
        user="ann",
    )
    return Record(
        topic=EVENTS_TOPIC,
        partition=0,
        offset=offset,
        key=job.encode(),
        value=dumps({"type": "deleted", "job": job, "at": at.isoformat(), "by": "ann"}),
        headers=encode_headers(envelope),
        timestamp_ms=int(at.timestamp() * 1000),
    )
