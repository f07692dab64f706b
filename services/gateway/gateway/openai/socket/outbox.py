"""Between lanes that speak and a client that may be slow: a bounded box with one writer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

__all__ = ["Outbox", "Stalled"]


class Stalled(Exception):
    """The client took nothing for too long."""


class Outbox:
    """Frames on their way out.

    Whoever speaks into a full box waits: lanes are few, so waiting is bounded too, and a job's own
    events are read again from the log by then.
    """

    __slots__ = ("_bytes", "_frames", "_is_closed", "_max_bytes", "_max_frames", "_room", "_some")

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self._frames: deque[str] = deque()
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._is_closed = False
        self._room = asyncio.Event()
        self._room.set()
        self._some = asyncio.Event()

    async def put(self, frame: str) -> None:
        """Hand a frame over; waits for room. One that is larger than the box goes alone."""
        while not self._is_closed and self._is_full(len(frame)):
            self._room.clear()
            await self._room.wait()
        if self._is_closed:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        self._some.set()

    def close(self) -> None:
        """Take no more; what waits is still written."""
        self._is_closed = True
        self._room.set()
        self._some.set()

    async def write(self, send: Callable[[str], Awaitable[None]], *, stall_s: float) -> None:
        """Write frame by frame, until the box is closed and empty.

        Raises:
            Stalled: one frame was not taken within `stall_s`.
        """
        while True:
            while self._frames:
                frame = self._frames.popleft()
                self._bytes -= len(frame)
                self._room.set()
                try:
                    async with asyncio.timeout(stall_s):
                        await send(frame)
                except TimeoutError:
                    raise Stalled from None
            if self._is_closed:
                return
            self._some.clear()
            await self._some.wait()

    def _is_full(self, size: int) -> bool:
        return bool(self._frames) and (
            len(self._frames) >= self._max_frames or self._bytes + size > self._max_bytes
        )
