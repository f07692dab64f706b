"""Following a batch: what has happened to its lines, then what does, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Final

from penstock_contracts.batches import BatchStatus
from penstock_kit.auth.principal import Principal
from penstock_kit.batches.events import BatchEvents, KeptEvent
from penstock_kit.jobs.view import TableAway
from penstock_kit.tenancy import TenantScope

__all__ = ["BatchFollower"]

_LOOK_EVERY_S: Final = 0.2
"""Lines of a batch take seconds; nobody notices, and Redis is asked five times a second."""
_PING: Final = b": ping\n\n"
_HINT: Final = b": this gateway is being stopped, come again with Last-Event-ID\nretry: 1000\n\n"
_ENDS: Final = frozenset(f"batch.{status.value}" for status in BatchStatus if status.is_terminal)


class BatchFollower:
    """Makes streams of events; `drain` ends them all with a hint where to go on."""

    def __init__(
        self,
        events: BatchEvents,
        *,
        is_live: Callable[[Principal], bool],
        heartbeat: timedelta,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        self._events = events
        self._is_live = is_live
        self._heartbeat_s = heartbeat.total_seconds()
        self._look_every_s = look_every_s
        self._draining = asyncio.Event()

    async def frames(self, principal: Principal, batch: str, *, after: int) -> AsyncIterator[bytes]:
        """The frames of all events beyond number `after`, until the batch is over."""
        scope = TenantScope(principal.tenant)
        clock = asyncio.get_running_loop().time
        yield _PING
        said_at = clock()
        while True:
            events = await self._read(scope, batch, after)
            if events:
                after, said_at = events[-1].number, clock()
                yield b"".join(map(_frame, events))
                if events[-1].type in _ENDS:
                    return
                continue
            if self._draining.is_set():
                yield _HINT
                return
            if clock() - said_at >= self._heartbeat_s:
                if not self._is_live(principal):
                    return
                said_at = clock()
                yield _PING
            await self._pause()

    def drain(self) -> None:
        """The process is being stopped."""
        self._draining.set()

    async def _read(self, scope: TenantScope, batch: str, after: int) -> list[KeptEvent]:
        try:
            return await self._events.read(scope, batch, after=after)
        except TableAway:
            return []  # nothing is lost: it is read when Redis is back

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._look_every_s):
                await self._draining.wait()
        except TimeoutError:
            return


def _frame(event: KeptEvent) -> bytes:
    return b"event: %b\nid: %d\ndata: %b\n\n" % (event.type.encode(), event.number, event.value)
