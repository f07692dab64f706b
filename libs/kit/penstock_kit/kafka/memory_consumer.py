"""The consumer of Kafka in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock_kit.errors import Retryable
from penstock_kit.kafka.memory_group import MemoryGroup, MemoryMember
from penstock_kit.kafka.ports import Assignment, Record, TopicPartition

if TYPE_CHECKING:
    from penstock_kit.kafka.memory import MemoryKafka

__all__ = ["MemoryConsumer"]

_UNKNOWN = -1


class MemoryConsumer:
    """A group member driven by one thread. `expel` plays the broker that lost sight of it."""

    def __init__(self, kafka: MemoryKafka, group: MemoryGroup) -> None:
        self._kafka = kafka
        self._group = group
        self._member: MemoryMember | None = None
        self._on_change: Callable[[Assignment], None] = lambda _: None
        self._epoch = 0
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()

    def subscribe(self, topics: Sequence[str], on_change: Callable[[Assignment], None]) -> None:
        """Join the group."""
        self._on_change = on_change
        with self._kafka.changed:
            self._member = MemoryMember(tuple(topics))
            self._group.join(self._member)
            self._kafka.changed.notify_all()

    def poll(self, timeout_s: float, max_records: int) -> list[Record]:
        """Settle rebalances, then hand out what is there or wait for it."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._settle_rebalance()
            with self._kafka.changed:
                records = self._take(max_records)
                left = deadline - time.monotonic()
                if records or left <= 0:
                    return records
                if not self._has_news():
                    self._kafka.changed.wait(left)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop handing out records of these."""
        self._paused.update(place for place in partitions if place in self._positions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Go on after the last record handed out."""
        self._paused.difference_update(partitions)

    def commit(
        self,
        offsets: dict[TopicPartition, int],
        *,
        wait: bool,
        notes: Mapping[TopicPartition, str] = {},
    ) -> None:
        """Store offsets of partitions that are ours, and what is noted beside them."""
        with self._kafka.changed:
            if self._kafka.faults.refuse_commits:
                raise Retryable("the offsets were not committed: refused on request")
            owned = self._member.owned if self._member is not None else set()
            if wait and not owned.issuperset(offsets.keys() & self._positions.keys()):
                raise Retryable("the offsets were not committed: not a member any more")
            self._group.committed.update(
                {place: offset for place, offset in offsets.items() if place in owned}
            )
            self._group.notes.update(
                {place: notes.get(place, "") for place in offsets if place in owned}
            )

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """What the group holds for these partitions."""
        with self._kafka.changed:
            return {place: self._group.committed.get(place, _UNKNOWN) for place in partitions}

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets of the next records."""
        with self._kafka.changed:
            return {place: self._kafka.end_offset(place) for place in partitions}

    def unheard_s(self) -> float:
        """Zero, unless a test says otherwise."""
        return self._kafka.faults.unheard_s

    def close(self) -> None:
        """Announce the revocation, then leave."""
        member, self._member = self._member, None
        if member is None:
            return
        if self._positions:
            self._member = member  # commits of the last moment are still ours
            self._give_up(frozenset(self._positions), lost=False)
            self._member = None
        with self._kafka.changed:
            self._group.leave(member)
            self._kafka.changed.notify_all()

    def expel(self) -> None:
        """Test hook: the broker takes the partitions away, as after a missed session time-out.

        The consumer joins again by itself when it polls next, after it has heard of the loss.
        """
        with self._kafka.changed:
            if self._member is not None:
                self._group.expel(self._member)
                self._kafka.changed.notify_all()

    def _has_news(self) -> bool:
        member = self._member
        return member is not None and bool(
            member.lost or member.owned - member.target or self._group.free(member)
        )

    def _settle_rebalance(self) -> None:
        member = self._member
        if member is None:
            return
        if member.lost:
            self._give_up(frozenset(member.lost), lost=True)
            with self._kafka.changed:
                member.lost.clear()
                self._group.join(member)
        with self._kafka.changed:
            surplus = frozenset(member.owned - member.target)
        if surplus:
            self._give_up(surplus, lost=False)
        with self._kafka.changed:
            member.owned -= surplus
            added = self._group.free(member)
            member.owned |= added
            committed = {place: self._group.committed.get(place, _UNKNOWN) for place in added}
            notes = {place: note for place in added if (note := self._group.notes.get(place))}
            if surplus:
                self._kafka.changed.notify_all()
        if added:
            self._positions.update({place: max(offset, 0) for place, offset in committed.items()})
            self._epoch += 1
            self._on_change(Assignment(self._epoch, added=committed, notes=notes))

    def _give_up(self, places: frozenset[TopicPartition], *, lost: bool) -> None:
        self._epoch += 1
        self._on_change(Assignment(self._epoch, revoked=places, lost=lost))
        self._paused -= places
        for place in places:
            self._positions.pop(place, None)

    def _take(self, max_records: int) -> list[Record]:
        records: list[Record] = []
        for place, position in self._positions.items():
            if place in self._paused or len(records) >= max_records:
                continue
            found = self._kafka.read(place, position, max_records - len(records))
            records += found
            self._positions[place] = position + len(found)
        return records
