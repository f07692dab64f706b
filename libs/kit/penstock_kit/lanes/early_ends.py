"""Records that are taken out of the lanes before their turn: each is handled until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

import structlog
from penstock_contracts.dead import DeadReason

from penstock_kit.ending import end_tasks
from penstock_kit.errors import Busy, Rejected, Retryable
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome, Retry

__all__ = ["EarlyEnds", "WaitingRecords"]

log = structlog.get_logger(__name__)

_PAUSE_S = 1.0


class WaitingRecords(Protocol):
    """The lanes, as far as taking records out needs them."""

    async def withdraw(self, match: Callable[[Record], bool]) -> list[Delivery]:
        """Take waiting records out."""
        ...

    def finish(self, delivery: Delivery, outcome: Done | Dead) -> None:
        """End one that was taken out."""
        ...


class EarlyEnds:
    """Takes records out and hands them to the handler, which finds why they need no turn.

    The lanes' limits do not apply to them: whoever needs one says with `at_once` how many handlers
    may run.
    """

    def __init__(
        self,
        records: WaitingRecords,
        handler: Callable[[Delivery], Awaitable[Outcome]],
        *,
        at_once: int | None = None,
    ) -> None:
        self._records = records
        self._handler = handler
        self._place: AbstractAsyncContextManager[object] = (
            nullcontext() if at_once is None else asyncio.Semaphore(at_once)
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def end(self, match: Callable[[Record], bool]) -> None:
        """Take out what matches, and begin to end it."""
        for delivery in await self._records.withdraw(match):
            task = asyncio.create_task(self._end(delivery), name="end early")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Let go of what is not ended yet; those records are delivered again."""
        await end_tasks(*self._tasks)

    async def _end(self, delivery: Delivery) -> None:
        async with self._place:
            self._records.finish(delivery, await self._outcome(delivery))

    async def _outcome(self, delivery: Delivery) -> Done | Dead:
        while True:
            try:
                outcome = await self._handler(delivery)
            except Rejected as error:
                return Dead(DeadReason.POISON, error.code, str(error))
            except (Busy, Retryable) as error:
                pause_s = error.retry_after_s or _PAUSE_S
            except Exception:  # the loop's edge; a handler may give up after some of these
                log.exception("lanes.not_ended_early")
                pause_s = _PAUSE_S
                delivery = replace(delivery, failures=delivery.failures + 1)
            else:
                if not isinstance(outcome, Retry):
                    return outcome
                # The reason to end went away again: the record waits here instead.
                pause_s = outcome.after.total_seconds()
            await asyncio.sleep(pause_s)
