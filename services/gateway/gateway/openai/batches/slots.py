"""How many lines are under way in this process, shared fairly among its batches."""

from __future__ import annotations

import asyncio

__all__ = ["LineSlots", "SlotShare"]

_MIN_SHARE = 16


class LineSlots:
    """At most `lines` jobs and `size_bytes` of requests at once; every batch has an equal share."""

    def __init__(self, *, lines: int, size_bytes: int) -> None:
        self._lines = lines
        self._size_bytes = size_bytes
        self._shares: set[SlotShare] = set()

    def share(self) -> SlotShare:
        """A batch's share; close it when the batch is over."""
        share = SlotShare(self)
        self._shares.add(share)
        return share

    @property
    def lines_each(self) -> int:
        """Lines that each batch may have under way now."""
        return max(_MIN_SHARE, self._lines // max(1, len(self._shares)))

    @property
    def bytes_each(self) -> int:
        """The same in bytes of requests."""
        return self._size_bytes // max(1, len(self._shares))

    def leave(self, share: SlotShare) -> None:
        """The others get more."""
        self._shares.discard(share)
        for other in self._shares:
            other.wake()


class SlotShare:
    """One batch's lines under way. A line that is alone always fits, however large."""

    def __init__(self, slots: LineSlots) -> None:
        self._slots = slots
        self._lines = 0
        self._size_bytes = 0
        self._changed = asyncio.Event()

    async def take(self, size_bytes: int) -> None:
        """Wait for room; one caller."""
        while self._lines > 0 and (
            self._lines >= self._slots.lines_each
            or self._size_bytes + size_bytes > self._slots.bytes_each
        ):
            self._changed.clear()
            await self._changed.wait()
        self._lines += 1
        self._size_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """A line is over."""
        self._lines -= 1
        self._size_bytes -= size_bytes
        self._changed.set()

    def wake(self) -> None:
        """There may be more room."""
        self._changed.set()

    def close(self) -> None:
        """The batch is over."""
        self._slots.leave(self)
