"""Dead letters: the original record, byte for byte, with the reason in further headers.

The headers begin with `penstock_dead_` and stand behind the record's own, `reason` first. What an
operator did with a letter is a record of its own in the same partition: a resolution. It has no
`penstock_dead_reason`, which every letter has, so no producer can make a letter pass for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from penstock_contracts.envelope import Headers

__all__ = [
    "DEAD_FIELDS",
    "RESOLUTION_FIELDS",
    "DeadLetter",
    "DeadReason",
    "Resolution",
    "ResolutionKind",
    "dead_headers",
    "original_headers",
    "read_dead_letter",
    "read_resolution",
    "resolution_headers",
]

_PREFIX = "penstock_dead_"
_MAX_FIELD_BYTES = 1024
_MAX_ANSWER_BYTES = 2048
"""With ten fields of at most 1 KiB besides, far below the 64 KiB that topics keep for headers."""

DEAD_FIELDS = (
    "reason",
    "code",
    "detail",
    "topic",
    "partition",
    "offset",
    "at",
    "by",
    "attempts",
    "answer",
)
"""The headers of a letter, in their order, without the prefix."""

RESOLUTION_FIELDS = ("resolution", "of", "at", "by", "to", "job", "note")
"""The headers of a resolution, in their order, without the prefix."""


class DeadReason(StrEnum):
    """Two kinds that are handled differently."""

    POISON = "poison"
    """The record itself is wrong: malformed, forged, unknown task. Replay cannot help."""
    FAILURE = "failure"
    """The handler failed: replaying it may help once the cause is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Why a record died and where it came from.

    `answer` is what the dependency said at last; its writer removes secrets.
    """

    reason: DeadReason
    code: str
    detail: str
    topic: str
    partition: int
    offset: int
    at: datetime
    by: str
    attempts: int = 0
    answer: str = ""


class ResolutionKind(StrEnum):
    """What became of a letter. It stays in the topic either way."""

    REDRIVEN = "redriven"
    """A new job was written for it: `to` and `job` say which."""
    DROPPED = "dropped"
    """An operator decided that nothing is to be done; `note` may say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What an operator did with a letter.

    Attributes:
        kind: what was done.
        partition: of the letter in `ai.dead.v1`.
        offset: of the letter in `ai.dead.v1`.
        at: when.
        by: who.
        to: `topic/partition/offset` of the record that was written for it; empty if none.
        job: id of the new job; empty if none.
        note: the operator's words.
    """

    kind: ResolutionKind
    partition: int
    offset: int
    at: datetime
    by: str
    to: str = ""
    job: str = ""
    note: str = ""


def dead_headers(letter: DeadLetter) -> Headers:
    """The headers to append to the record's own; long texts are cut, the answer at 2 KiB."""
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
        "answer": letter.answer,
    }
    return _headers(fields)


def read_dead_letter(headers: Iterable[tuple[str, bytes | None]]) -> DeadLetter | None:
    """What the headers of a record from `ai.dead.v1` say; None if it is no letter.

    The last header of a name counts: the original may have had headers of these names.
    """
    named = _named(headers)
    try:
        return DeadLetter(
            reason=DeadReason(named["reason"]),
            code=named["code"],
            detail=named.get("detail", ""),
            topic=named["topic"],
            partition=int(named["partition"]),
            offset=int(named["offset"]),
            at=datetime.fromisoformat(named["at"]),
            by=named.get("by", ""),
            attempts=int(named.get("attempts") or 0),
            answer=named.get("answer", ""),
        )
    except (KeyError, ValueError):
        return None


def original_headers(headers: Iterable[tuple[str, bytes]]) -> Headers:
    """The headers that the record had before it died."""
    given = list(headers)
    for place in range(len(given) - 1, -1, -1):
        if given[place][0] == f"{_PREFIX}reason":
            return given[:place]
    return given


def resolution_headers(resolution: Resolution) -> Headers:
    """The headers of the record that resolves a letter; it has no value and the letter's key."""
    fields = {
        "resolution": resolution.kind.value,
        "of": f"{resolution.partition}/{resolution.offset}",
        "at": resolution.at.isoformat(timespec="milliseconds"),
        "by": resolution.by,
        "to": resolution.to,
        "job": resolution.job,
        "note": resolution.note,
    }
    return _headers(fields)


def read_resolution(headers: Iterable[tuple[str, bytes | None]]) -> Resolution | None:
    """What a resolution says; None if the record is a letter or neither."""
    named = _named(headers)
    if "reason" in named:
        return None
    try:
        partition, _, offset = named["of"].partition("/")
        return Resolution(
            kind=ResolutionKind(named["resolution"]),
            partition=int(partition),
            offset=int(offset),
            at=datetime.fromisoformat(named["at"]),
            by=named.get("by", ""),
            to=named.get("to", ""),
            job=named.get("job", ""),
            note=named.get("note", ""),
        )
    except (KeyError, ValueError):
        return None


def _headers(fields: dict[str, str]) -> Headers:
    return [(f"{_PREFIX}{name}", _cut(name, text)) for name, text in fields.items()]


def _cut(name: str, text: str) -> bytes:
    limit = _MAX_ANSWER_BYTES if name == "answer" else _MAX_FIELD_BYTES
    return text.encode(errors="replace")[:limit].decode(errors="ignore").encode()


def _named(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    return {
        name.removeprefix(_PREFIX): raw.decode(errors="replace")
        for name, raw in headers
        if name.startswith(_PREFIX) and raw is not None
    }
