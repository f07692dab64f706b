"""How far the job table has folded the events topic: makes "the table knows nothing" a fact."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from penstock_contracts.topics import EVENTS

from penstock_kit.kafka.ports import TopicPartition
from penstock_kit.redis_client import RedisClient, Script, redis_errors

__all__ = ["Coverage", "EventLog", "FoldMarks", "event_marks"]

_MARKS_KEY = "ps:folded"
_RAISE = """
for at = 1, #ARGV, 2 do
  local old = redis.call('HGET', KEYS[1], ARGV[at])
  if not old or tonumber(old) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  end
end
return 1
"""


class EventLog(Protocol):
    """A topic of events, as far as its end goes."""

    async def ends(self) -> Mapping[int, int]:
        """The offset after the newest record of each partition that holds any, as of now.

        Raises:
            Retryable: the broker does not answer.
        """
        ...


def event_marks(
    offsets: Mapping[TopicPartition, int], *, topic: str = EVENTS.name
) -> dict[int, int]:
    """Those of the events topic, by partition."""
    return {place.partition: at for place, at in offsets.items() if place.topic == topic}


class FoldMarks:
    """Per partition of the events topic, the offset up to which the table has everything.

    True only while the table is whole: what came up empty is rebuilt first. Of another `topic`,
    the same for its view.
    """

    def __init__(self, redis: RedisClient, *, topic: str = EVENTS.name) -> None:
        self._redis = redis
        self._key = _MARKS_KEY if topic == EVENTS.name else f"{_MARKS_KEY}:{topic}"
        self._raise = Script(redis, _RAISE)

    async def note(self, marks: Mapping[int, int]) -> None:
        """Everything before these offsets is folded; marks only rise.

        Raises:
            TableAway: note it again.
        """
        if marks:
            flat = [number for mark in marks.items() for number in mark]
            with redis_errors("noting what is folded"):
                await self._raise.run([self._key], flat)

    async def read(self) -> dict[int, int]:
        """The marks.

        Raises:
            TableAway: Redis does not answer.
        """
        with redis_errors("reading what is folded"):
            fields = cast("dict[bytes, bytes]", await self._redis.hgetall(self._key))
        return {int(partition): int(mark) for partition, mark in fields.items()}


@dataclass(frozen=True, slots=True)
class _Ends:
    asked_at: float
    offsets: Mapping[int, int]


class Coverage:
    """Answers whether the table has all events that were in the log at some moment.

    Many may ask at once: one look at the log serves everybody who asked before it.
    """

    def __init__(self, log: EventLog, marks: FoldMarks) -> None:
        self._log = log
        self._marks = marks
        self._pending: _Ends | None = None
        self._covered_at = float("-inf")
        self._one = asyncio.Lock()

    def has_covered(self, since: float) -> bool:
        """Whether `covers` has found so before."""
        return self._covered_at >= since

    async def covers(self, since: float) -> bool:
        """Whether all that the log held at `since` (the loop's time, not in the future) is folded.

        False: ask again shortly; the answer becomes True once the recorder has caught up.

        Raises:
            TableAway: Redis does not answer.
            Retryable: the broker does not answer.
        """
        if self.has_covered(since):
            return True
        async with self._one:
            while self._covered_at < since:
                # An unproven look is kept: a newer one at every question would never be reached.
                if self._pending is None:
                    asked_at = asyncio.get_running_loop().time()
                    self._pending = _Ends(asked_at, await self._log.ends())
                marks = await self._marks.read()
                if any(marks.get(at, 0) < end for at, end in self._pending.offsets.items()):
                    return False
                self._covered_at, self._pending = self._pending.asked_at, None
        return True
