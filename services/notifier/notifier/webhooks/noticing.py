"""Which records tell of an end that somebody may want to hear of, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from penstock_contracts.batches import BatchState, BatchStatus
from penstock_contracts.codec import decode_model
from penstock_contracts.envelope import Envelope, decode_event
from penstock_contracts.errors import ContractError
from penstock_contracts.events import TERMINAL, JobEventAdapter
from penstock_contracts.replies import REPLY_TO, ReplyAddress
from penstock_contracts.topics import BATCHES, EVENTS
from penstock_kit.errors import Rejected
from penstock_kit.kafka.ports import Record
from penstock_kit.tail.tailed import TailedEvent, read_event
from penstock_kit.webhooks.deliveries import Notice
from pydantic import ValidationError

__all__ = ["SOURCES", "JobEnd", "is_wanted", "read_batch_end", "read_job_end"]

SOURCES: Final = (EVENTS.name, BATCHES.name)
"""Topics that tell of ends."""

_PREFIX: Final = {"response": "resp_"}
"""By the kind of a job's surface, how the object's id begins; jobs of other kinds tell nobody."""
_JOB_PREFIX: Final = len("job_")
_CUT: Final = frozenset({"length", "content_filter"})
"""Reasons why an output ended before it was whole."""
_ENDINGS: Final = {
    "completed": "completed",
    "failed": "failed",
    "expired": "failed",
    "unknown_outcome": "failed",
    "cancelled": "cancelled",
}
_TERMINAL_TYPES: Final = frozenset(f"penstock.job.{name}.v1".encode() for name in TERMINAL)
_BATCH_ENDS: Final = tuple(
    b'"status":"%b"' % status.value.encode() for status in BatchStatus if status.is_terminal
)


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a job, as its event tells.

    Attributes:
        status: of the job, which the job table must confirm: the event of an attempt that had been
            given up does not count.
        notice: what endpoints are told, if the job is an object of another API.
        reply: where its producer wants to hear of it.
    """

    job: str
    tenant: str
    status: str
    notice: Notice | None
    reply: ReplyAddress | None


def is_wanted(record: Record) -> bool:
    """Whether the record may tell of an end; nearly all do not, so little of them is looked at.

    A batch that goes on may pass, if its metadata look like an end; it is decoded then.
    """
    if record.topic == BATCHES.name:
        value = record.value or b""
        return any(end in value for end in _BATCH_ENDS)
    for name, value in record.headers:
        if name == "ce_type" and value not in _TERMINAL_TYPES:
            return False
        if name == REPLY_TO or (name == "ce_surface" and value == b"response"):
            return True
    return False


def read_job_end(record: Record) -> JobEnd:
    """What a record of the events topic tells.

    Raises:
        Rejected: the record is no job event.
    """
    event = read_event(record.key, record.headers, record.value)
    _check(event.value)  # what the recorder does not take in must not be waited for
    try:
        envelope, _ = decode_event(record.headers, record.value)
        if envelope.reply is not None:
            envelope.reply.check(event.tenant)
    except ContractError as error:
        raise Rejected(str(error), code=error.code, field=error.field) from None
    notice = _notice(event, envelope) if "surface" in envelope.extra else None
    return JobEnd(event.job, event.tenant, event.type, notice, envelope.reply)


def _notice(event: TailedEvent, envelope: Envelope) -> Notice:
    try:
        prefix = _PREFIX[envelope.extra["surface"]]
        ending = _ENDINGS[event.type]
    except KeyError as error:
        raise Rejected(f"a header is of no known kind ({error})", code="bad_job_event") from None
    if envelope.time is None:
        raise Rejected("ce_time is missing", code="bad_job_event", field="ce_time")
    if ending == "completed" and envelope.extra.get("finish") in _CUT:
        ending = "incomplete"
    subject = prefix + event.job[_JOB_PREFIX:]
    return Notice(event.tenant, f"response.{ending}", subject, envelope.time)


def _check(value: bytes) -> None:
    try:
        JobEventAdapter.validate_json(value)
    except ValidationError as error:
        raise Rejected(
            f"the record is no job event: {error.error_count()} problems", code="bad_job_event"
        ) from None


def read_batch_end(record: Record) -> Notice | None:
    """What a record of the topic of batches tells; None if the batch goes on.

    The state itself, not the event about it: the event is written after it, and a gateway that dies
    in between leaves the state alone.

    Raises:
        Rejected: the record is no batch.
    """
    try:
        state = decode_model(BatchState, record.value or b"")
    except ContractError as error:
        raise Rejected(f"the record is no batch: {error.code}", code="bad_batch") from None
    if not state.status.is_terminal:
        return None
    status = state.status.value
    at: datetime = getattr(state, f"{status}_at") or state.request.created_at
    return Notice(state.request.tenant, f"batch.{status}", state.request.id, at)
