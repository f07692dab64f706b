"""The kept events of a job: recent ones as they were in the log, older ones merged into a prefix.

The prefix keeps the text and drops the cuts: neighbouring deltas become one event that covers a
range of positions (`StoredEvent.first` to `.position`) and says how many pieces it stands for, so
that readers who number pieces come to the same numbers. Output of an attempt that a later `reset`
voids is kept like the rest: who saw it has to be told what became of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
from penstock_contracts.events import DeltaEvent, Position
from penstock_contracts.parts import Delta, has_content, merge_counted

from penstock_kit.jobs.facets import Ending
from penstock_kit.jobs.view import StoredEvent

__all__ = [
    "counted_deltas",
    "decode_prefix",
    "encode_prefix",
    "end_of",
    "merge_events",
    "select_events",
]


def merge_events(events: Sequence[StoredEvent], *, cap_bytes: int) -> list[StoredEvent]:
    """The same output in as few events as possible; over the cap the oldest are dropped."""
    merged: list[StoredEvent] = []
    for event in events:
        if event.type == "delta" and merged and _is_more_of(merged[-1], event):
            merged[-1] = _merge_two(merged[-1], event)
        else:
            merged.append(event)
    total = sum(len(event.value) for event in merged)
    while merged and total > cap_bytes:
        total -= len(merged.pop(0).value)
    return merged


def select_events(
    events: Iterable[StoredEvent], *, after: Position | None, end: StoredEvent | None
) -> list[StoredEvent]:
    """What comes after a position; nothing comes after the end, and the end is never missed."""
    chosen = [
        event
        for event in events
        if (after is None or event.position > after)
        and (end is None or event.position < end.position)
    ]
    if end is not None and end.position != after:
        chosen.append(end)
    return chosen


def encode_prefix(events: Sequence[StoredEvent]) -> bytes:
    """The prefix as it lies in Redis."""
    return orjson.dumps(
        [
            [
                str(event.first or event.position),
                str(event.position),
                event.type,
                event.value.decode(),
            ]
            for event in events
        ]
    )


def decode_prefix(raw: bytes | None) -> list[StoredEvent]:
    """The inverse of `encode_prefix`; None is an empty prefix."""
    return [
        StoredEvent(Position.parse(last), kind, value.encode(), first=Position.parse(first))
        for first, last, kind, value in orjson.loads(raw or b"[]")
    ]


def counted_deltas(event: DeltaEvent) -> list[tuple[Delta, int]]:
    """The deltas of an event of the log, or of a merged one, with the pieces each stands for."""
    if event.pieces is not None and len(event.pieces) == len(event.deltas):
        return list(zip(event.deltas, event.pieces, strict=True))
    return [(delta, int(has_content(delta))) for delta in event.deltas]


def end_of(ending: Ending | None) -> StoredEvent | None:
    """The terminal event as it is replayed."""
    return (
        None if ending is None else StoredEvent(ending.position, ending.status.value, ending.event)
    )


def _is_more_of(left: StoredEvent, right: StoredEvent) -> bool:
    return left.type == "delta" and left.position.attempt == right.position.attempt


def _merge_two(left: StoredEvent, right: StoredEvent) -> StoredEvent:
    earlier, later = (
        DeltaEvent.model_validate_json(left.value),
        DeltaEvent.model_validate_json(right.value),
    )
    deltas, pieces = merge_counted([*counted_deltas(earlier), *counted_deltas(later)])
    joined = later.model_copy(update={"deltas": deltas, "pieces": pieces})
    value = joined.model_dump_json(exclude_none=True).encode()
    return StoredEvent(right.position, "delta", value, first=left.first or left.position)
