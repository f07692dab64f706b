"""Holding a submit until its job ends (`Prefer: wait=N`), as long as asked and allowed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from penstock_contracts.events import TERMINAL
from penstock_contracts.snapshot import Snapshot
from penstock_kit.tenancy import TenantScope

from gateway.ports import JoinedStream, StreamEvent, Streams

__all__ = ["EndWaiter", "EndWaiters", "Preference", "read_preference"]

_WAIT = re.compile(r"^wait\s*=\s*\"?(\d{1,6})\"?$")


@dataclass(frozen=True, slots=True)
class Preference:
    """What a `Prefer` header asks for, after our limits; `applied` goes into the answer."""

    wait_s: int = 0
    applied: str | None = None


def read_preference(header: str | None, *, max_wait_s: int) -> Preference:
    """Read RFC 7240 preferences; unknown and malformed ones are ignored, as it demands.

    `respond-async, wait=N` means: wait so long, then answer 202 (section 4.3).
    """
    if header is None:
        return Preference()
    wishes = [wish.split(";")[0].strip().lower() for wish in header.split(",")]
    applied = ["respond-async"] if "respond-async" in wishes else []
    found = next(filter(None, map(_WAIT.match, wishes)), None)
    wait_s = 0 if found is None else min(int(found[1]), max_wait_s)
    if wait_s:
        applied.append(f"wait={wait_s}")
    return Preference(wait_s, ", ".join(applied) or None)


class EndWaiter:
    """Waits for the terminal event of one job; `close` must be called and works twice."""

    def __init__(self, *, on_close: Callable[[EndWaiter], None]) -> None:
        self._ending: asyncio.Future[dict[str, Any] | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._joined: JoinedStream | None = None
        self._on_close = on_close

    def begin(self, streams: Streams, scope: TenantScope, job: str) -> None:
        """Wait for a job that is not written yet."""
        self._joined = streams.begin(scope, job, self._see)

    async def join(self, streams: Streams, scope: TenantScope, job: str) -> None:
        """Wait for a job that may run, or be over."""
        self._joined = await streams.join(scope, job, None, self._see)
        if self._joined.snapshot is not None:
            self._see(self._joined.snapshot)
        for event in self._joined.backlog:
            self._see(event)

    async def end(self, timeout_s: float) -> dict[str, Any] | None:
        """The terminal event as plain values; None if the job has not ended in time."""
        done, _ = await asyncio.wait({self._ending}, timeout=timeout_s)
        return self._ending.result() if done else None

    def close(self) -> None:
        """Leave the tail."""
        if self._joined is not None:
            self._joined.close()
        self._ending.cancel()
        self._on_close(self)

    def give_up(self) -> None:
        """End the waiting now: the caller is answered as if its time were over."""
        if not self._ending.done():
            self._ending.set_result(None)

    def _see(self, event: StreamEvent | Snapshot) -> None:
        if isinstance(event, Snapshot):
            if event.status.is_terminal:
                ending = event.model_dump(mode="json", exclude_none=True)
                self._settle({**ending, "type": event.status.value})
        elif event.type in TERMINAL:
            self._settle(orjson.loads(event.value))

    def _settle(self, ending: dict[str, Any]) -> None:
        if not self._ending.done():
            self._ending.set_result(ending)


class EndWaiters:
    """All callers that are held; they are let go when the process drains."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._open: set[EndWaiter] = set()
        self._is_draining = False

    async def begin(self, scope: TenantScope, job: str, *, may_exist: bool) -> EndWaiter:
        """A waiter that misses no end, if this is called before the job is written.

        A job that cannot exist yet (`may_exist` False) needs no look into the past.
        """
        waiter = EndWaiter(on_close=self._open.discard)
        self._open.add(waiter)
        if self._is_draining:
            waiter.give_up()
        try:
            if may_exist:
                await waiter.join(self._streams, scope, job)
            else:
                waiter.begin(self._streams, scope, job)
        except BaseException:
            waiter.close()
            raise
        return waiter

    def drain(self) -> None:
        """Let every caller go, and every later one at once: their jobs run on."""
        self._is_draining = True
        for waiter in tuple(self._open):
            waiter.give_up()
