"""What a handler may say of a delivery.

Everything else is an exception of the four error families.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from penstock_contracts.dead import DeadReason
from penstock_contracts.retries import MAX_DELAY_MS, MAX_STATE_BYTES, RetryNote

from penstock_kit.kafka.ports import Record

__all__ = ["Dead", "Delivery", "Done", "Outcome", "Retry"]

_LONGEST_WAIT = timedelta(milliseconds=MAX_DELAY_MS)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record on its way to a handler.

    Attributes:
        record: as read.
        epoch: assignment epoch under which it was read; a part of the fence.
        is_suspect: another process may have begun this record before the assignment: consult the
            ledger first.
        deliveries: how often this process has handed it to a handler, from 1.
        failures: tries that failed and counted, in this process and before the record came here.
        state: what the handler gave to the `Retry` before; empty at the first try.
        source: topic that the record was first read from; `record.topic` may be a retry topic.
        dropped_by: the operator's rule that wants the record ended instead of run; free of charge.
        note: what the record brought from a retry topic; None: it lies where it was first written.
    """

    record: Record
    epoch: int
    is_suspect: bool
    deliveries: int = 1
    failures: int = 0
    state: bytes = b""
    source: str = ""
    dropped_by: str | None = None
    note: RetryNote | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Everything that had to be written is acknowledged; the offset may pass."""


@dataclass(frozen=True, slots=True)
class Dead:
    """The record goes to `ai.dead.v1`, acknowledged, before its offset passes."""

    reason: DeadReason
    code: str
    detail: str
    attempts: int = 0
    answer: str = ""
    """What the dependency said, without secrets; cut to 2 KiB in the letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Run the record again after a pause; the handler has decided that it is worth another try.

    The record goes to a retry topic, acknowledged, before its offset passes, and its key goes on.
    With `in_place`, or without retry topics, it stays where it is and its key waits: order holds.
    How often is for the handler to decide: `Delivery.failures` counts along, no limit applies.

    Attributes:
        after: earliest next try, counted from when the broker has the retry record.
        counts: whether this was a failure; a parked record is not one.
        state: for the next delivery, at most 4 KiB. It survives a crash in a retry topic only.
        is_overload: a dependency said that it is too much; with `LanePolicy.adaptive` fewer
            handlers run at once for a while.
    """

    after: timedelta
    code: str
    detail: str
    in_place: bool = False
    counts: bool = True
    state: bytes = b""
    is_overload: bool = False

    def __post_init__(self) -> None:
        if not timedelta(0) <= self.after <= _LONGEST_WAIT:
            raise ValueError(f"a retry in {self.after} makes no sense; wait 0 to {_LONGEST_WAIT}")
        if len(self.state) > MAX_STATE_BYTES:
            raise ValueError(
                f"the state of a retry has {len(self.state)} bytes; at most {MAX_STATE_BYTES}"
            )


Outcome = Done | Dead | Retry
