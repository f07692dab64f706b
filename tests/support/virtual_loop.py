"""An asyncio loop on which waiting costs nothing: time jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

__all__ = ["LoopClock", "VirtualLoop", "run_virtually"]

T = TypeVar("T")

_START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Deadlock(Exception):
    """Nothing will ever happen: everybody waits and no timer is set."""


class _NoFiles(selectors.BaseSelector):
    """A selector without files that lets time pass instead of waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock
        self.now += max(0.0, timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class VirtualLoop(asyncio.SelectorEventLoop):
    """The real scheduling of asyncio: ready callbacks in order, timers by time. No I/O, no threads.

    Two runs of one program with the same random numbers are the same to the last step.
    """

    def __init__(self) -> None:
        self._files = _NoFiles()
        super().__init__(self._files)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._files.now


class LoopClock:
    """Implements `Clock` by the time of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """The loop's time on a fixed date."""
        return _START + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """The loop's time."""
        return self._loop.time()


def run_virtually(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run to the end on a loop of its own, then close it.

    Raises:
        Deadlock: everybody waits for something that will not come.
    """
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        asyncio.set_event_loop(None)
        loop.close()
