"""Fewer, larger delta events: the first piece at once, then one per interval or token count.

Many streams at once share what a process sends: each of its events then carries more, and comes
less often.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from penstock_contracts.parts import Delta, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta

from llm_worker.ports import Batch, Piece

__all__ = ["Coalescer", "CoalescingPolicy", "DeltaPace", "Unheard"]

_MAX_EVENT_CHARS = 64 * 1024
"""A delta event stays far below the record limit, even where every character is escaped in JSON."""


_SLOTS = 5
"""All streams of a process send in so many groups per interval. The events of a group leave in one
request and are read in one answer; each on its own would wake producer, broker and readers."""
_EARLY_S = 0.001
"""uvloop's timers have this step: who slept until an event is due may be back so early."""
_ROUNDING = 1e-6
"""Loop times are floats: what is a hair before a slot is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoalescingPolicy:
    """How long and how much may be held back.

    Attributes:
        interval: between two events of a stream.
        longest_interval: the same while streams are so many that they would send more than
            `events_per_s` together; beyond that they do.
    """

    interval: timedelta = timedelta(milliseconds=25)
    longest_interval: timedelta = timedelta(milliseconds=100)
    events_per_s: int = 1_000
    max_tokens: int = 64


class DeltaPace:
    """The interval that all streams of a process keep, by their number. One per process."""

    def __init__(self, policy: CoalescingPolicy) -> None:
        self._shortest_s = policy.interval.total_seconds()
        self.longest_s = max(self._shortest_s, policy.longest_interval.total_seconds())
        self._each_s = 1 / policy.events_per_s
        self.max_tokens = policy.max_tokens
        self._streams = 0

    def joined(self) -> None:
        """A stream has sent its first event."""
        self._streams += 1

    def left(self) -> None:
        """It is over."""
        self._streams -= 1

    @property
    def interval_s(self) -> float:
        """Between two events of a stream, now."""
        return min(max(self._shortest_s, self._streams * self._each_s), self.longest_s)


class Coalescer:
    """Holds pieces of one call and hands them to `emit` in order. Use on one event loop.

    The interval counts from the slot of the last event: a slow stream is never delayed, a fast one
    is cut down to one event per interval. `flush` before any other event of the job, `close` at the
    end.
    """

    def __init__(
        self,
        emit: Callable[[Sequence[Delta]], None],
        pace: DeltaPace,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`loop` None: the running one."""
        self._emit = emit
        self._pace = pace
        self._is_streaming = False
        self._held: list[Piece] = []
        self._chars = 0
        self._due = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._loop = loop or asyncio.get_running_loop()

    def add(self, batch: Batch) -> float:
        """Take the pieces of a batch, emit what is due; gives the loop time of the next event."""
        for part in batch:
            if isinstance(part, Piece):
                self._held.append(part)
                self._chars += len(part.text)
        if not self._held:
            return self._due
        if (
            len(self._held) >= self._pace.max_tokens
            or self._chars >= _MAX_EVENT_CHARS
            or self._loop.time() >= self._due - _EARLY_S
        ):
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._due, self.flush)
        return self._due

    def flush(self) -> None:
        """Emit what is held, now."""
        self._stop_timer()
        if not self._held:
            return
        held, self._held, self._chars = self._held, [], 0
        if not self._is_streaming:
            self._is_streaming = True
            self._pace.joined()
        now = self._loop.time()
        if self._due - _EARLY_S <= now < self._due:
            now = self._due  # or it would count as of the slot before
        interval_s = self._pace.interval_s
        slot_s = interval_s / _SLOTS
        slot = math.floor(now / slot_s + _ROUNDING) if slot_s else 0
        self._due = slot * slot_s + interval_s
        for deltas in _split(joined(held)):
            self._emit(deltas)

    def close(self) -> None:
        """Drop what is held and stop the timer; works twice."""
        self._stop_timer()
        self._held = []
        if self._is_streaming:
            self._is_streaming = False
            self._pace.left()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Unheard:
    """In place of a `Coalescer` where nobody follows the text: emits nothing."""

    def __init__(self, pace: DeltaPace) -> None:
        self._pace = pace

    def add(self, batch: Batch) -> float:
        """Take the pieces of a batch; gives the loop time at which to look for more."""
        del batch
        return asyncio.get_running_loop().time() + self._pace.longest_s

    def flush(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """There is no timer."""


def joined(pieces: Sequence[Piece]) -> list[Delta]:
    """Deltas with neighbours of the same choice and kind joined; linear, unlike joining models."""
    deltas: list[Delta] = []
    run: list[Piece] = []
    for piece in pieces:
        if run and not _continues(run[-1], piece):
            deltas.append(_delta(run))
            run = []
        run.append(piece)
    if run:
        deltas.append(_delta(run))
    return deltas


def _continues(left: Piece, right: Piece) -> bool:
    return (
        left.kind == right.kind
        and left.choice == right.choice
        and left.place == right.place
        and right.id is None
    )


def _delta(run: Sequence[Piece]) -> Delta:
    first = run[0]
    text = "".join([piece.text for piece in run])
    if first.kind == "text":
        logprobs = [entry for piece in run if piece.logprobs for entry in piece.logprobs]
        return TextDelta.model_construct(
            choice=first.choice, type="text", text=text, logprobs=logprobs or None
        )
    if first.kind == "reasoning":
        return ReasoningDelta.model_construct(choice=first.choice, type="reasoning", text=text)
    if first.kind == "refusal":
        return RefusalDelta.model_construct(choice=first.choice, type="refusal", text=text)
    return ToolCallDelta.model_construct(
        choice=first.choice,
        type="tool_call",
        index=first.place,
        id=first.id,
        name=next((piece.name for piece in run if piece.name), None),
        arguments=text,
    )


def _split(deltas: list[Delta]) -> list[list[Delta]]:
    """Cut what would not fit into one record; nearly always one event comes out."""
    if sum(_size(delta) for delta in deltas) <= _MAX_EVENT_CHARS:
        return [deltas]
    return [[part] for delta in deltas for part in _parts(delta)]


def _size(delta: Delta) -> int:
    return len(delta.arguments if isinstance(delta, ToolCallDelta) else delta.text)


def _parts(delta: Delta) -> list[Delta]:
    size = _size(delta)
    if size <= _MAX_EVENT_CHARS:
        return [delta]
    cuts = range(0, size, _MAX_EVENT_CHARS)
    if isinstance(delta, ToolCallDelta):
        first = delta.model_copy(update={"arguments": delta.arguments[:_MAX_EVENT_CHARS]})
        rest = {"id": None, "name": None}
        return [
            first,
            *(
                delta.model_copy(
                    update={**rest, "arguments": delta.arguments[at : at + _MAX_EVENT_CHARS]}
                )
                for at in cuts[1:]
            ),
        ]
    return [
        delta.model_copy(update={"text": delta.text[at : at + _MAX_EVENT_CHARS]}) for at in cuts
    ]
