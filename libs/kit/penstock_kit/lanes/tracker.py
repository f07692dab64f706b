"""Which offset may be committed: the lowest that is not finished."""

from __future__ import annotations

from collections import deque

__all__ = ["OffsetTracker", "Slot"]


class Slot:
    """A record's place in its partition."""

    __slots__ = ("is_finished", "offset", "timestamp_ms")

    def __init__(self, offset: int, timestamp_ms: int = -1) -> None:
        self.offset = offset
        self.timestamp_ms = timestamp_ms
        self.is_finished = False


class OffsetTracker:
    """Slots begin in order of offsets and finish in any order; one per partition and assignment.

    Attributes:
        position: everything below is finished: the offset to commit. -1 until the first record, if
            nothing had been committed.
        beyond_gap: finished records above `position`.
        end: the offset after the last record begun.
    """

    __slots__ = ("_slots", "beyond_gap", "end", "position")

    def __init__(self, committed: int) -> None:
        self.position = self.end = committed
        self.beyond_gap = 0
        self._slots: deque[Slot] = deque()

    def begin(self, slot: Slot) -> None:
        """Take a record into account; offsets must grow, gaps are fine."""
        if self.position < 0:
            self.position = slot.offset
        self.end = slot.offset + 1
        self._slots.append(slot)

    def skip(self, offset: int) -> None:
        """A record that needs no work at all: it takes no room, however far beyond a gap it is."""
        self.end = offset + 1
        if not self._slots:
            self.position = self.end

    def finish(self, slot: Slot) -> None:
        """The record needs no further work; moves `position` over everything that is contiguous."""
        assert not slot.is_finished, "a record finishes once"
        slot.is_finished = True
        slots = self._slots
        if slots[0] is not slot:
            self.beyond_gap += 1
            return
        slots.popleft()
        while slots and slots[0].is_finished:
            slots.popleft()
            self.beyond_gap -= 1
        self.position = slots[0].offset if slots else self.end

    def finished_beyond(self) -> list[int]:
        """Offsets of the finished records above `position`.

        Another thread may ask while records finish: then some are missing, and none is wrong.
        """
        return [slot.offset for slot in list(self._slots) if slot.is_finished]

    @property
    def oldest(self) -> Slot | None:
        """The first unfinished record."""
        return self._slots[0] if self._slots else None

    @property
    def unfinished(self) -> int:
        """How many records are not finished."""
        return len(self._slots) - self.beyond_gap
