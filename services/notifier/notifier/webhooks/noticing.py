"""Which records tell of an end that endpoints may want to hear of, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from penstock_contracts.batches import BatchEventAdapter
from penstock_contracts.events import TERMINAL, JobEventAdapter
from penstock_contracts.topics import BATCH_EVENTS, EVENTS
from penstock_kit.errors import Rejected
from penstock_kit.kafka.ports import Record
from penstock_kit.tail.tailed import read_event
from penstock_kit.webhooks.deliveries import Notice
from pydantic import ValidationError

__all__ = ["SOURCES", "JobEnd", "is_wanted", "read_batch_end", "read_job_end"]

SOURCES: Final = (EVENTS.name, BATCH_EVENTS.name)
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
_BATCH_LINE: Final = b'"type":"batch.line.'
_BATCH_ENDS: Final = frozenset(
    {"batch.completed", "batch.failed", "batch.expired", "batch.cancelled"}
)


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a job that is an object of another API, as its event tells.

    Attributes:
        status: of the job, which the job table must confirm: the event of an attempt that had been
            given up does not count.
    """

    job: str
    status: str
    notice: Notice


def is_wanted(record: Record) -> bool:
    """Whether the record may tell of an end; nearly all do not, so only headers are looked at.

    Lines of batches are told apart by their bytes: JSON escapes quotes, so that no content can look
    like the member.
    """
    if record.topic == BATCH_EVENTS.name:
        return record.value is not None and _BATCH_LINE not in record.value
    for name, value in record.headers:
        if name == "ce_type" and value not in _TERMINAL_TYPES:
            return False
        if name == "ce_surface":
            return value == b"response"
    return False


def read_job_end(record: Record) -> JobEnd:
    """What a record of the events topic tells.

    Raises:
        Rejected: the record is no job event.
    """
    event = read_event(record.key, record.headers, record.value)
    _check(event.value)  # what the recorder does not take in must not be waited for
    named = dict(record.headers)
    try:
        at = datetime.fromisoformat(named["ce_time"].decode("ascii"))
        prefix = _PREFIX[named["ce_surface"].decode("ascii")]
        ending = _ENDINGS[event.type]
    except (KeyError, ValueError) as error:
        raise Rejected(
            f"a header is missing or broken ({type(error).__name__})", code="bad_job_event"
        ) from error
    if ending == "completed" and named.get("ce_finish", b"").decode(errors="replace") in _CUT:
        ending = "incomplete"
    subject = prefix + event.job[_JOB_PREFIX:]
    return JobEnd(event.job, event.type, Notice(event.tenant, f"response.{ending}", subject, at))


def _check(value: bytes) -> None:
    try:
        JobEventAdapter.validate_json(value)
    except ValidationError as error:
        raise Rejected(
            f"the record is no job event: {error.error_count()} problems", code="bad_job_event"
        ) from None


def read_batch_end(record: Record) -> Notice | None:
    """What a record of the batch events tells; None if the batch goes on.

    Raises:
        Rejected: the record is no batch event.
    """
    tenant = dict(record.headers).get("ce_tenant", b"").decode(errors="replace")
    try:
        event = BatchEventAdapter.validate_json(record.value or b"")
    except ValidationError as error:
        raise Rejected(
            f"the record is no batch event: {error.error_count()} problems", code="bad_batch_event"
        ) from None
    if not tenant:
        raise Rejected("ce_tenant is missing", code="bad_batch_event", field="ce_tenant")
    if event.type not in _BATCH_ENDS:
        return None
    return Notice(tenant, event.type, event.batch, event.at)
