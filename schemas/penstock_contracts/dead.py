"""Dead letters: the original record, byte for byte, with the reason in further headers.

The headers begin with `penstock_dead_`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from penstock_contracts.envelope import Headers

__all__ = ["DeadLetter", "DeadReason", "dead_headers"]

_MAX_DETAIL_BYTES = 1024
"""Keeps a record that was accepted near the size limit dead-letterable."""


class DeadReason(StrEnum):
    """Two kinds that are handled differently."""

    POISON = "poison"
    """The record itself is wrong: malformed, forged, unknown task. Replay cannot help."""
    FAILURE = "failure"
    """The handler failed: replaying it may help once the cause is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Why a record died and where it came from."""

    reason: DeadReason
    code: str
    detail: str
    topic: str
    partition: int
    offset: int
    at: datetime
    by: str
    attempts: int = 0


def dead_headers(letter: DeadLetter) -> Headers:
    """The headers to append to the record's own; never longer than about 2 KiB in all."""
    fields = {
        "reason": letter.reason.value,
        "code": letter.code,
        "detail": letter.detail,
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "at": letter.at.isoformat(timespec="milliseconds"),
        "by": letter.by,
        "attempts": str(letter.attempts),
    }
    return [
        (
            f"penstock_dead_{name}",
            text.encode()[:_MAX_DETAIL_BYTES].decode(errors="ignore").encode(),
        )
        for name, text in fields.items()
    ]
