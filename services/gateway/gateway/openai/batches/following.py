"""Following a batch: what has happened to its lines, then what does, as server-sent events.

The last event of a batch may be missing: it is kept for seven days, and a gateway that dies between
a state and its event leaves the state alone. So the state decides when a stream ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final

from penstock_contracts.batches import BatchChanged, BatchState, BatchStatus
from penstock_contracts.codec import decode_model, encode_model
from penstock_kit.auth.principal import Principal
from penstock_kit.batches.events import BatchEvents, KeptEvent
from penstock_kit.batches.shelf import Shelf
from penstock_kit.clock import Clock
from penstock_kit.jobs.view import TableAway
from penstock_kit.tenancy import TenantScope

from gateway.mailbox import Closing
from gateway.standing import LapseOf, Standing

__all__ = ["BatchFollower"]

_LOOK_EVERY_S: Final = 0.2
"""Lines of a batch take seconds; nobody notices, and Redis is asked five times a second."""
_STATE_EVERY_S: Final = 2.0
"""A silent stream asks so often whether the batch is over."""
_LATE: Final = timedelta(seconds=15)
"""After the end of a batch, events may come so late to their view; then no more are waited for."""
_PING: Final = b": ping\n\n"
_HINT: Final = b": this gateway is being stopped, come again with Last-Event-ID\nretry: 1000\n\n"
_ENDS: Final = frozenset(f"batch.{status.value}" for status in BatchStatus if status.is_terminal)


class BatchFollower:
    """Makes streams of events; `drain` ends them all with a hint where to go on."""

    def __init__(
        self,
        events: BatchEvents,
        *,
        batches: Shelf,
        clock: Clock,
        lapse_of: LapseOf,
        heartbeat: timedelta,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        self._events = events
        self._batches = batches
        self._clock = clock
        self._lapse_of = lapse_of
        self._heartbeat_s = heartbeat.total_seconds()
        self._look_every_s = look_every_s
        self._draining = asyncio.Event()

    async def frames(self, principal: Principal, batch: str, *, after: int) -> AsyncIterator[bytes]:
        """The frames of all events beyond number `after`, until the batch is over.

        If its last event is missing beyond `after`, it is made up from the batch's state.
        """
        standing = Standing(principal, self._lapse_of, every_s=self._heartbeat_s)
        try:
            async for frame in self._frames(TenantScope(principal.tenant), batch, after, standing):
                yield frame
        except Closing as closing:
            yield f": {closing.reason}, come again with Last-Event-ID\n\n".encode()

    async def _frames(
        self, scope: TenantScope, batch: str, after: int, standing: Standing
    ) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        yield _PING
        said_at = clock()
        ask_at = said_at
        while True:
            standing.check()
            events = await self._read(scope, batch, after)
            if events:
                after, said_at = events[-1].number, clock()
                yield b"".join(map(_frame, events))
                if events[-1].type in _ENDS:
                    return
                continue
            if events is not None and clock() >= ask_at:
                ask_at = clock() + _STATE_EVERY_S
                rest = await self._rest(scope, batch, after)
                if rest is not None:
                    for event in rest:
                        yield _frame(event)
                    return
            if self._draining.is_set():
                yield _HINT
                return
            if clock() - said_at >= self._heartbeat_s:
                said_at = clock()
                yield _PING
            await self._pause()

    def drain(self) -> None:
        """The process is being stopped."""
        self._draining.set()

    async def _read(self, scope: TenantScope, batch: str, after: int) -> list[KeptEvent] | None:
        """Events beyond a number; None: Redis is away, and they are read when it is back."""
        try:
            return await self._events.read(scope, batch, after=after)
        except TableAway:
            return None

    async def _rest(self, scope: TenantScope, batch: str, after: int) -> list[KeptEvent] | None:
        """What a reader lacks who was given all events; None: more may come."""
        state = await self._over(scope, batch)
        if state is None:
            return None
        if await self._has_end(scope, batch, after):
            return []
        is_late = self._clock.now() - _ended_at(state) >= _LATE
        return [_last_event(state, after + 1)] if is_late else None

    async def _over(self, scope: TenantScope, batch: str) -> BatchState | None:
        """The batch, if it is over as far as we know."""
        try:
            value = await self._batches.get(scope, batch)
        except TableAway:
            return None
        state = None if value is None else decode_model(BatchState, value)
        return state if state is not None and state.status.is_terminal else None

    async def _has_end(self, scope: TenantScope, batch: str, number: int) -> bool:
        """Whether the event of this number, which the reader has, is the last one."""
        events = await self._read(scope, batch, number - 1) or []
        return any(event.number == number and event.type in _ENDS for event in events)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._look_every_s):
                await self._draining.wait()
        except TimeoutError:
            return


def _frame(event: KeptEvent) -> bytes:
    return b"event: %b\nid: %d\ndata: %b\n\n" % (event.type.encode(), event.number, event.value)


def _ended_at(state: BatchState) -> datetime:
    at: datetime | None = getattr(state, f"{state.status.value}_at")
    return at or state.request.created_at


def _last_event(state: BatchState, number: int) -> KeptEvent:
    kind: Any = f"batch.{state.status.value}"
    event = BatchChanged(
        type=kind,
        batch=state.request.id,
        sequence_number=number,
        at=_ended_at(state),
        counts=state.counts,
        output_file_id=state.output_file_id,
        error_file_id=state.error_file_id,
    )
    return KeptEvent(number, kind, encode_model(event))
