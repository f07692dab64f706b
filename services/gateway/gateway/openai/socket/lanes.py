"""Lanes of one socket: responses of one lane come one after another, lanes side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from gateway.errors import ApiError

__all__ = ["Lanes"]

Work = Callable[[], Awaitable[None]]


class Lanes:
    """Runs work per lane in order. A lane without work has no task; `close` cancels them all."""

    def __init__(self, *, max_lanes: int, max_waiting: int) -> None:
        self._max_lanes = max_lanes
        self._max_waiting = max_waiting
        self._waiting: dict[str | None, deque[Work]] = {}
        self._tasks: dict[str | None, asyncio.Task[None]] = {}

    def put(self, lane: str | None, work: Work) -> None:
        """Run `work` when the lane's earlier ones are done.

        Raises:
            ApiError: too_many_streams.
        """
        if lane not in self._tasks and len(self._tasks) >= self._max_lanes:
            message = (
                f"This socket runs {self._max_lanes} streams already; wait for one to end, or "
                "connect another socket."
            )
            raise ApiError("too_many_streams", message, param="stream_id", retry_after_s=1.0)
        if sum(map(len, self._waiting.values())) >= self._max_waiting:
            message = (
                f"{self._max_waiting} responses wait on this socket already; wait for one to end, "
                "or connect another socket."
            )
            raise ApiError("too_many_streams", message, param="stream_id", retry_after_s=1.0)
        self._waiting.setdefault(lane, deque()).append(work)
        if lane not in self._tasks:
            self._tasks[lane] = asyncio.create_task(self._run(lane), name="socket lane")

    def is_busy(self, lane: str | None) -> bool:
        """Whether work of the lane runs or waits."""
        return lane in self._tasks

    async def close(self) -> None:
        """Stop all lanes; what waits is dropped."""
        self._waiting.clear()
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, lane: str | None) -> None:
        try:
            while waiting := self._waiting.get(lane):
                await waiting.popleft()()
        finally:
            self._waiting.pop(lane, None)
            del self._tasks[lane]
