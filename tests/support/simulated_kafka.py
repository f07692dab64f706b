"""Partitions as a simulation needs them: a log, what is committed, and who owns what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from penstock_kit.errors import Retryable
from penstock_kit.kafka.ports import Record, TopicPartition
from penstock_kit.lanes.notes import decode_note

__all__ = ["Broken", "SimulatedLog"]


class Broken(AssertionError):
    """A promise does not hold."""


@dataclass
class SimulatedLog:
    """Implements what `Commits` uses of a consumer, and checks every commit.

    Attributes:
        finished: offsets whose work is done, by whichever assignment.
        committed: what the broker holds; `sent` are commits on their way.
    """

    random: Random
    records: dict[TopicPartition, list[Record]] = field(default_factory=dict)
    finished: dict[TopicPartition, set[int]] = field(default_factory=dict)
    committed_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    notes: dict[TopicPartition, str] = field(default_factory=dict)
    sent: list[tuple[dict[TopicPartition, int], dict[TopicPartition, str]]] = field(
        default_factory=list
    )
    refuse: bool = False

    def add_partition(self, place: TopicPartition) -> None:
        """An empty partition."""
        self.records[place] = []
        self.finished[place] = set()

    def append(self, place: TopicPartition, key: bytes, tenant: str) -> None:
        """One more record."""
        log = self.records[place]
        log.append(Record(*place, len(log), key, tenant.encode(), (), 0))

    def commit(
        self,
        offsets: dict[TopicPartition, int],
        *,
        wait: bool,
        notes: Mapping[TopicPartition, str],
    ) -> None:
        """Take a commit, at once or later; never one that passes or notes unfinished work."""
        for place, note in notes.items():
            if lies := decode_note(offsets[place], note) - self.finished[place]:
                raise Broken(f"commit of {place} notes unfinished {sorted(lies)}")
        for place, offset in offsets.items():
            missing = set(range(offset)) - self.finished[place]
            if missing:
                raise Broken(f"commit of {place} at {offset} passes unfinished {sorted(missing)}")
        if self.refuse:
            raise Retryable("refused on request")
        if wait:
            self.answer_commits()  # one connection: answers come in order
            self._store(offsets, notes)
        else:
            self.sent.append((dict(offsets), dict(notes)))

    def answer_commits(self) -> None:
        """The broker takes what is on its way."""
        sent, self.sent = self.sent, []
        for offsets, notes in sent:
            self._store(offsets, notes)

    def forget_sent(self, places: Sequence[TopicPartition]) -> None:
        """Commits of an earlier generation never arrive."""
        for offsets, _ in self.sent:
            for place in places:
                offsets.pop(place, None)

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """What the broker holds."""
        return {place: self.committed_offsets.get(place, -1) for place in partitions}

    def note(self, place: TopicPartition) -> frozenset[int]:
        """Offsets that the last commit told to be finished beyond it."""
        committed = self.committed_offsets.get(place, -1)
        return decode_note(committed, self.notes.get(place, ""))

    def _store(
        self, offsets: Mapping[TopicPartition, int], notes: Mapping[TopicPartition, str]
    ) -> None:
        for place, offset in offsets.items():
            if offset < self.committed_offsets.get(place, -1):
                raise Broken(f"the commit of {place} went back to {offset}")
            self.committed_offsets[place] = offset
            self.notes[place] = notes.get(place, "")
