"""A consumer group of Kafka in memory: cooperative, sticky, balanced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from penstock_kit.kafka.ports import TopicPartition

__all__ = ["MemoryGroup", "MemoryMember"]


@dataclass(eq=False, slots=True)
class MemoryMember:
    """One consumer as its group sees it.

    Attributes:
        owned: partitions that it may read; somebody else gets one only after it left this set.
        target: partitions that it shall own when the rebalance is over.
        lost: taken away without asking; the member has not heard of it yet.
    """

    topics: tuple[str, ...]
    owned: set[TopicPartition] = field(default_factory=set)
    target: set[TopicPartition] = field(default_factory=set)
    lost: set[TopicPartition] = field(default_factory=set)


class MemoryGroup:
    """Members, who shall own what, and committed offsets.

    Hold the broker's lock around every call.
    """

    def __init__(self, places: Callable[[Iterable[str]], list[TopicPartition]]) -> None:
        self._places = places
        self.members: list[MemoryMember] = []
        self.committed: dict[TopicPartition, int] = {}
        self.notes: dict[TopicPartition, str] = {}

    def join(self, member: MemoryMember) -> None:
        """Take part from the next rebalance on, which is now."""
        self.members.append(member)
        self.rebalance()

    def leave(self, member: MemoryMember) -> None:
        """Give everything up; works twice."""
        if member in self.members:
            self.members.remove(member)
        member.owned.clear()
        member.target.clear()
        self.rebalance()

    def expel(self, member: MemoryMember) -> None:
        """What a broker does with a member that fell silent.

        Its partitions go to others at once.
        """
        member.lost |= member.owned
        self.leave(member)

    def rebalance(self) -> None:
        """Spread partitions evenly; who has one keeps it unless somebody has two fewer."""
        for member in self.members:
            member.target &= set(self._places(member.topics))
        topics = {topic for member in self.members for topic in member.topics}
        taken = {place for member in self.members for place in member.target}
        for place in self._places(sorted(topics)):
            if place not in taken:
                self._poorest(place).target.add(place)
        while self._move_one():
            pass

    def free(self, member: MemoryMember) -> set[TopicPartition]:
        """What the member shall own and nobody else still holds."""
        held = {place for other in self.members if other is not member for place in other.owned}
        return member.target - member.owned - held

    def _poorest(self, place: TopicPartition) -> MemoryMember:
        readers = [member for member in self.members if place.topic in member.topics]
        return min(readers, key=lambda member: len(member.target))

    def _move_one(self) -> bool:
        for giver in sorted(self.members, key=lambda member: -len(member.target)):
            for place in sorted(giver.target):
                taker = self._poorest(place)
                if len(giver.target) - len(taker.target) > 1:
                    giver.target.remove(place)
                    taker.target.add(place)
                    return True
        return False
