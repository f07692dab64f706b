"""The fence: a worker that was thought dead cannot end a job that somebody else has begun anew.

A terminal event of attempt a counts only if no `started` of an attempt b > a stands before it in
the job's partition. The first in the log that counts is how the job ended; all others are
superseded. `lua/fold.lua` does the same inside Redis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
from penstock_contracts.events import JobStatus, Position
from penstock_contracts.parts import Usage

__all__ = ["Ending", "Start", "ending_that_counts", "join_endings", "join_starts", "superseded"]

_COUNTED = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")


class Start(NamedTuple):
    """A `started` event: its place in the log, and of which attempt."""

    partition: int
    offset: int
    attempt: int


class Ending(NamedTuple):
    """A terminal event and its place in the log; `body` is JSON of members without output.

    `event` is the terminal event itself, with its output: what `events` replays and where `get`
    takes output from. Empty where it cannot count any more, or where only its cost is known.
    """

    partition: int
    offset: int
    position: Position
    status: JobStatus
    body: bytes
    event: bytes


def join_starts(left: Sequence[Start], right: Sequence[Start]) -> tuple[Start, ...]:
    """Both, in the order of the log, without those behind one of the same or a later attempt."""
    kept: list[Start] = []
    for start in sorted({*left, *right}):
        if not kept or start.attempt > kept[-1].attempt:
            kept.append(start)
    return tuple(kept)


def join_endings(
    left: Iterable[Ending], right: Iterable[Ending], starts: Sequence[Start]
) -> tuple[Ending, ...]:
    """Both, once by place, in the order of the log; those behind the fence without their event."""
    by_place: dict[tuple[int, int], Ending] = {}
    for ending in (*left, *right):
        place = (ending.partition, ending.offset)
        known = by_place.get(place)
        by_place[place] = ending if known is None else max(known, ending)
    return tuple(
        ending._replace(event=b"") if _is_fenced(ending, starts) else ending
        for _, ending in sorted(by_place.items())
    )


def ending_that_counts(endings: Iterable[Ending], starts: Sequence[Start]) -> Ending | None:
    """How the job ended; `endings` in the order of the log."""
    return next((ending for ending in endings if not _is_fenced(ending, starts)), None)


def superseded(endings: Iterable[Ending], counts: Ending | None) -> dict[str, Any] | None:
    """Number and usage of the attempts whose end does not count, as `JobState` takes them.

    A result that was written twice has one attempt, and is booked once.
    """
    booked = set() if counts is None else {counts.position.attempt}
    void: list[Usage] = []
    for ending in endings:
        if ending.position.attempt not in booked:
            booked.add(ending.position.attempt)
            void.append(Usage.model_validate(orjson.loads(ending.body).get("usage") or {}))
    return {"count": len(void), "usage": _sum(void)} if void else None


def _sum(usages: Sequence[Usage]) -> Usage:
    counts = {
        name: sum(known)
        for name in _COUNTED
        if (known := [n for usage in usages if (n := getattr(usage, name)) is not None])
    }
    costs = [usage.cost_usd for usage in usages if usage.cost_usd is not None]
    sources = {usage.price_source for usage in usages if usage.price_source is not None}
    return Usage(
        **counts,
        cost_usd=sum(costs, start=Decimal(0)) if costs else None,
        price_source=", ".join(sorted(sources)) or None,
        estimated=any(usage.estimated for usage in usages),
    )


def _is_fenced(ending: Ending, starts: Sequence[Start]) -> bool:
    place = (ending.partition, ending.offset)
    return any(
        start.attempt > ending.position.attempt and (start.partition, start.offset) < place
        for start in starts
    )
