"""Breaks in the attempt ledger, in its scripts, and in what readers make of events."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.promises.sabotage.patching import patch, patch_function, without_line

__all__ = ["mark_before_result", "no_end", "no_fence", "no_lease", "no_unknown_outcome"]

_LATER_S = 1.5


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

    patch(JobEmitter, "_emit", promise)


def no_end() -> None:
    """Whether the job is over, or carried by another record, is not asked."""
    without_line("begin", r"^if over then return .*$", r"^if ledger\[5\] and not is_same.*$")
    without_line("hold", r"^if ledger\[3\] or begun > attempt then return .*$")


def no_lease() -> None:
    """Whose lease it is, and whether anybody proved that its owner is dead, is not asked."""
    without_line(
        "begin",
        r"^if holder and holder ~= owner then return .*$",
        r"^if proven < needed then return .*$",
    )
    without_line("hold", r"^if holder and holder ~= ARGV\[1\] then return .*$")


def no_unknown_outcome() -> None:
    """`at_most_once` is not asked for."""
    without_line("begin", r"^.*return \{ 'lost', attempt \}.*$")


def no_fence() -> None:
    """The first end in the log is the end, whoever started since."""
    without_line("fold", r"^    if start\[3\] > ending\[3\] and before\(.*$")
    from penstock_kit.jobs import fence  # noqa: PLC0415 - only if switched on

    patch_function(fence, "_is_fenced", lambda _ending, _starts: False)
