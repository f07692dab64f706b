"""What a handler may say of a delivery.

Everything else is an exception of the four error families.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock_contracts.dead import DeadReason

from penstock_kit.kafka.ports import Record

__all__ = ["Dead", "Delivery", "Done", "Outcome"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record on its way to a handler.

    Attributes:
        record: as read.
        epoch: assignment epoch under which it was read; a part of the fence.
        is_suspect: another process may have begun this record before the assignment: consult the
            ledger first.
        deliveries: how often this process has handed it to a handler, from 1.
    """

    record: Record
    epoch: int
    is_suspect: bool
    deliveries: int = 1


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


Outcome = Done | Dead
