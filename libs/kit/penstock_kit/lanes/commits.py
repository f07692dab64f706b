"""What the broker is told of finished work, by the poll thread, and what it takes of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from penstock_kit.clock import Clock
from penstock_kit.errors import Retryable
from penstock_kit.kafka.ports import Consumer, TopicPartition
from penstock_kit.lanes.keys import Partition
from penstock_kit.lanes.notes import encode_note
from penstock_kit.lanes.policy import LanePolicy

__all__ = ["Commits"]

log = structlog.get_logger(__name__)

_REFUSED_PAUSE_S: Final = 0.5
"""Pause before the next try after the broker did not take a commit."""

_REFUSED_LOG_S: Final = 30.0


class Commits:
    """Commits positions of `owned` and nothing else: a partition leaves it when it is revoked.

    When the broker refuses, work goes on up to the suspect window and the commit is tried again
    with newer positions; what the broker lacks is repeated after a crash, nothing is lost.

    Attributes:
        refused_since: since when the broker has taken no commit; None while it takes them.
    """

    def __init__(
        self,
        consumer: Consumer,
        owned: Mapping[tuple[str, int], Partition],
        *,
        policy: LanePolicy,
        clock: Clock,
        name: str,
    ) -> None:
        self._consumer = consumer
        self._owned = owned
        self._clock = clock
        self._name = name
        self._interval_s = policy.commit_interval.total_seconds()
        self._hurry_beyond = min(policy.span_cap, policy.suspect_span // 4)
        self._next_at = self._not_before = 0.0
        self._told_at = float("-inf")
        self.refused_since: float | None = None

    def settle(self, now: float) -> list[Partition]:
        """Hear what was taken, send what is new; the partitions of which more is taken now."""
        moved = self._hear(now)
        ahead = max((_news_of(p) for p in self._owned.values()), default=0)
        is_due = now >= self._next_at or ahead > self._hurry_beyond
        if ahead > 0 and is_due and now >= self._not_before:
            self._next_at = now + self._interval_s
            self._send(
                {
                    partition.place: partition.tracker.position
                    for partition in self._owned.values()
                    if _news_of(partition)
                },
                wait=False,
            )
        return moved

    def flush(self) -> None:
        """Commit what is finished and wait for the answer."""
        self._send(
            {
                partition.place: position
                for partition in self._owned.values()
                if (position := partition.tracker.position)
                > min(partition.requested, partition.acked)
                or (position >= 0 and partition.tracker.beyond_gap != partition.noted)
            },
            wait=True,
        )

    def confirm(self) -> bool:
        """Whether the broker takes a commit of all our partitions: then they are ours."""
        return self._send(
            {
                partition.place: position
                for partition in self._owned.values()
                if (position := partition.tracker.position) >= 0
            },
            wait=True,
        )

    def forget_refusal(self) -> None:
        """The partitions of the refused commit may have left."""
        self.refused_since = None

    def _hear(self, now: float) -> list[Partition]:
        waiting = [p for p in self._owned.values() if p.requested > p.acked]
        if not waiting:
            return []
        acked = self._consumer.committed([p.place for p in waiting])
        moved = [p for p in waiting if acked[p.place] > p.acked]
        for partition in moved:
            partition.acked = acked[partition.place]
        if moved or self.refused_since is None:
            self.refused_since = None if len(moved) == len(waiting) else now
        return moved

    def _send(self, offsets: dict[TopicPartition, int], *, wait: bool) -> bool:
        if not offsets:
            return True
        noted = {place: self._owned[place].tracker.beyond_gap for place in offsets}
        notes = {
            place: encode_note(offsets[place], self._owned[place].tracker.finished_beyond())
            for place, beyond in noted.items()
            if beyond
        }
        try:
            self._consumer.commit(offsets, wait=wait, notes=notes)
        except Retryable as error:
            self._note_refusal(error)
            return False
        for place, position in offsets.items():
            self._owned[place].requested = position
            self._owned[place].noted = noted[place]
        return True

    def _note_refusal(self, error: Retryable) -> None:
        now = self._clock.monotonic()
        self._not_before = now + _REFUSED_PAUSE_S
        if self.refused_since is None:
            self.refused_since = now
        if now - self._told_at >= _REFUSED_LOG_S:
            self._told_at = now
            log.warning("lanes.commit_refused", lanes=self._name, error=str(error))


def _news_of(partition: Partition) -> int:
    """How far the work is ahead of what the broker was told; 1 if only beyond the gap."""
    tracker = partition.tracker
    if tracker.position < 0:
        return 0
    return tracker.position - partition.requested or int(tracker.beyond_gap != partition.noted)
