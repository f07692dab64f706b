"""Breaks in the attempt ledger, in its scripts, and in what readers make of events."""

from __future__ import annotations

import asyncio
import re
from typing import Any

__all__ = ["mark_before_result", "no_end", "no_fence", "no_lease", "no_unknown_outcome"]

_LATER_S = 1.5


class PatchMissed(Exception):
    """The product has moved away from under a switch: mend the switch."""


def mark_before_result() -> None:
    """The terminal event is written somewhat later; the handler is told that it is there."""
    from penstock_contracts.events import TERMINAL  # noqa: PLC0415 - only if switched on
    from penstock_kit.jobs.emitter import JobEmitter  # noqa: PLC0415 - only if switched on

    emit = JobEmitter._emit
    pending: set[asyncio.Task[None]] = set()

    async def later(self: Any, event: Any) -> None:
        await asyncio.sleep(_LATER_S)
        await emit(self, event)

    async def promise(self: Any, event: Any) -> None:
        if event.type not in TERMINAL:
            await emit(self, event)
            return
        task = asyncio.create_task(later(self, event))
        pending.add(task)
        task.add_done_callback(pending.discard)

    JobEmitter._emit = promise  # type: ignore[method-assign] # the point of it


def no_end() -> None:
    """Whether the job is over is not asked."""
    _rewrite("begin", r"^if over then return .*$")


def no_lease() -> None:
    """Whose lease it is is not asked."""
    _rewrite("begin", r"^if holder and holder ~= owner then return .*$")


def no_unknown_outcome() -> None:
    """`at_most_once` is not asked for."""
    _rewrite("begin", r"^.*return \{ 'lost', attempt \}.*$")


def no_fence() -> None:
    """The first terminal event is the end, whoever started since."""
    raise PatchMissed("the fence is not there yet")


def _rewrite(script: str, line: str) -> None:
    """Take a line out of a Lua script, wherever it is loaded from then on."""
    from penstock_kit import redis_client  # noqa: PLC0415 - only if switched on

    make = redis_client.Script.__init__
    found = re.compile(line, re.MULTILINE)
    head = redis_client.resources.files("penstock_kit.jobs").joinpath(f"lua/{script}.lua")
    original = head.read_text("utf-8")
    if not found.search(original):
        raise PatchMissed(f"{script}.lua has no line like {line!r}")

    def broken(self: Any, redis: Any, source: str) -> None:
        make(self, redis, found.sub("", source) if source == original else source)

    redis_client.Script.__init__ = broken  # type: ignore[method-assign] # the point of it
