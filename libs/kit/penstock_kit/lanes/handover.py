"""Partitions that left while handlers were at work: who waits for those handlers to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock_kit.kafka.ports import TopicPartition
from penstock_kit.lanes.keys import KeyQueue, KeyState, Partition

__all__ = ["Handover"]


class Handover:
    """Two wait: the poll thread before it lets go, and the same keys if the partition comes back.

    A partition may leave and return within the time of one handler. The key of that handler must
    not run twice at once then, so the key under the new assignment is the heir of the old one.
    """

    def __init__(self) -> None:
        self._leaving: list[tuple[Sequence[Partition], Callable[[], None]]] = []
        self._gone: dict[TopicPartition, list[Partition]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether handlers of partitions that left are still at work."""
        return bool(self._gone)

    def leave(self, partitions: Sequence[Partition], when_idle: Callable[[], None]) -> None:
        """These left; `when_idle` is called once none of their handlers is at work."""
        for partition in partitions:
            if partition.running:
                self._gone.setdefault(partition.place, []).append(partition)
        self._leaving.append((partitions, when_idle))
        self._tell_idle()

    def wait_for_earlier(self, queue: KeyQueue) -> None:
        """If a handler of the same key is at work since an earlier assignment, wait for it."""
        for partition in self._gone.get(queue.partition.place, ()):
            earlier = partition.keys.get(queue.key)
            if earlier is not None:
                earlier.heir = queue
                queue.state = KeyState.RESTING
                return

    def left(self, queue: KeyQueue) -> None:
        """A handler of a partition that left has ended."""
        partition = queue.partition
        partition.keys.pop(queue.key, None)
        gone = self._gone.get(partition.place, [])
        if not partition.running and partition in gone:
            gone.remove(partition)
            if not gone:
                del self._gone[partition.place]
        self._tell_idle()

    def _tell_idle(self) -> None:
        still = []
        for partitions, when_idle in self._leaving:
            if any(partition.running for partition in partitions):
                still.append((partitions, when_idle))
            else:
                when_idle()
        self._leaving = still
