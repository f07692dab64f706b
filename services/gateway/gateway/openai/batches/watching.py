"""Waiting for the ends of many jobs: by their events, and by the job table for what got lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from penstock_contracts.codec import encode_model
from penstock_contracts.events import TERMINAL
from penstock_contracts.snapshot import Snapshot
from penstock_contracts.state import JobState
from penstock_kit.jobs.view import JobTable, TableAway
from penstock_kit.tenancy import TenantScope

from gateway.openai.ending import ending_of_snapshot
from gateway.ports import StreamEvent, Streams

__all__ = ["LineWaiter", "LineWatch"]

log = structlog.get_logger(__name__)

_LOOK_AFTER_S = 10.0
"""A job that has not been heard of for so long is looked up in the table; then again and again."""
_LOOKS_AT_ONCE = 32


class LineWaiter:
    """Waits for one job. `close` must be called; it works twice."""

    __slots__ = ("_close", "_ended", "job", "look_at")

    def __init__(self, job: str, *, look_at: float) -> None:
        self.job = job
        self.look_at = look_at
        self._close: Callable[[], None] = _nothing
        self._ended: asyncio.Future[dict[str, Any] | None] = (
            asyncio.get_running_loop().create_future()
        )

    def listen(self, streams: Streams, scope: TenantScope) -> None:
        """Hear the job's events from now on."""
        self._close = streams.begin(scope, self.job, self._on_event).close

    async def end(self) -> dict[str, Any] | None:
        """The terminal event as a decoded object; None: given up."""
        return await self._ended

    def settle(self, value: dict[str, Any] | None) -> None:
        """The job has ended so, or (None) is not waited for any more; the first word counts."""
        if not self._ended.done():
            self._ended.set_result(value)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to wait for."""
        return self._ended.done()

    def close(self) -> None:
        """Hear no more."""
        self._close()

    def _on_event(self, item: StreamEvent | Snapshot) -> None:
        if isinstance(item, Snapshot):
            if item.status.is_terminal:
                self.settle(ending_of_snapshot(item))
        elif item.type in TERMINAL:
            self.settle(orjson.loads(item.value))


class LineWatch:
    """All jobs of one batch that are waited for."""

    def __init__(self, *, streams: Streams, table: JobTable, scope: TenantScope) -> None:
        self._streams = streams
        self._table = table
        self._scope = scope
        self._waiters: dict[str, LineWaiter] = {}
        self._is_given_up = False

    @property
    def jobs(self) -> list[str]:
        """What is waited for."""
        return list(self._waiters)

    def begin(self, job: str) -> LineWaiter:
        """Wait for a job that is about to be written, or may run already."""
        waiter = LineWaiter(job, look_at=_now() + _LOOK_AFTER_S)
        waiter.listen(self._streams, self._scope)
        self._waiters[job] = waiter
        return waiter

    def end(self, waiter: LineWaiter) -> None:
        """Wait no more."""
        waiter.close()
        self._waiters.pop(waiter.job, None)

    def give_up(self) -> None:
        """Whoever still waits gets nothing, and whoever comes later does not wait."""
        self._is_given_up = True
        for waiter in tuple(self._waiters.values()):
            waiter.settle(None)

    async def end_within(self, waiter: LineWaiter) -> dict[str, Any] | None:
        """The end of a job that is called back; None: it did not come before `give_up`."""
        if self._is_given_up:
            waiter.settle(None)
        return await waiter.end()

    async def look(self, waiter: LineWaiter) -> bool:
        """Settle the waiter if the table knows the end; whether the table knows the job at all.

        Raises:
            TableAway: the table cannot tell.
        """
        state = await self._table.get(self._scope, waiter.job)
        if state is not None and state.status.is_terminal:
            waiter.settle(_ending_of(state))
        return state is not None

    async def sweep(self) -> None:
        """Look up jobs that have been silent for long; called every now and then."""
        now = _now()
        due = [waiter for waiter in self._waiters.values() if waiter.look_at <= now]
        for first in range(0, len(due), _LOOKS_AT_ONCE):
            some = due[first : first + _LOOKS_AT_ONCE]
            for waiter in some:
                waiter.look_at = now + _LOOK_AFTER_S
            try:
                await asyncio.gather(*(self.look(waiter) for waiter in some))
            except TableAway as error:
                log.warning("batch.table_away", error=str(error))
                return


def _ending_of(state: JobState) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(encode_model(state))
    return {**value, "type": state.status.value}


def _now() -> float:
    return asyncio.get_running_loop().time()


def _nothing() -> None:
    """Nothing is heard yet."""
