"""Cancels of jobs that still wait in the lanes: taken out and ended at once, free of charge."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from typing import Protocol

import structlog
from penstock_contracts.dead import DeadReason

from penstock_kit.claims import job_claim_of
from penstock_kit.control import Cancel
from penstock_kit.ending import end_tasks
from penstock_kit.errors import Busy, Rejected, Retryable
from penstock_kit.jobs.cancelling import CancelBoard
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome, Retry

__all__ = ["Withdrawals", "called_back", "is_any_of"]

log = structlog.get_logger(__name__)

_PAUSE_S = 1.0
_BETWEEN_LOOKS_S = 0.1
"""Cancels that come one by one share a look then: each costs about a microsecond per record."""


class Window(Protocol):
    """The lanes, as far as withdrawing needs them."""

    async def withdraw(self, match: Callable[[Record], bool]) -> list[Delivery]:
        """Take waiting records out."""
        ...

    def finish(self, delivery: Delivery, outcome: Done | Dead) -> None:
        """End one that was taken out."""
        ...


class Withdrawals:
    """A Part. The handler finds the cancel on its board and ends the job without a call.

    Cancels that come together share one look at what waits: a batch's are a thousand in one fetch.
    """

    def __init__(self, window: Window, handler: Callable[[Delivery], Awaitable[Outcome]]) -> None:
        self._window = window
        self._handler = handler
        self._called_back: set[tuple[str, str]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    async def start(self) -> None:
        """Nothing to wait for."""

    async def stop(self) -> None:
        """Let go of what is not ended yet; those records are delivered again."""
        self._is_stopped = True
        if self._looking is not None:
            await end_tasks(self._looking)
        await end_tasks(*self._tasks)

    def on_cancel(self, cancel: Cancel) -> None:
        """Withdraw the job's record soon, if it waits here."""
        if self._is_stopped:
            return
        self._called_back.add((cancel.tenant, cancel.job))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="withdraw")

    async def _look(self) -> None:
        before: set[tuple[str, str]] = set()
        while self._called_back or before:
            jobs, self._called_back = self._called_back, set()
            # Each job is looked for twice: its record may be on its way from the poll thread now.
            await self._withdraw(jobs | before)
            before = jobs
            await asyncio.sleep(_BETWEEN_LOOKS_S)

    async def _withdraw(self, jobs: Container[tuple[str, str]]) -> None:
        for delivery in await self._window.withdraw(lambda record: is_any_of(record, jobs)):
            task = asyncio.create_task(self._end(delivery), name="withdraw-one")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _end(self, delivery: Delivery) -> None:
        while True:
            try:
                outcome = await self._handler(delivery)
            except Rejected as error:
                outcome = Dead(DeadReason.POISON, error.code, str(error))
            except (Busy, Retryable) as error:
                await asyncio.sleep(error.retry_after_s or _PAUSE_S)
                continue
            except Exception:
                log.exception("withdraw.failed")
                await asyncio.sleep(_PAUSE_S)
                continue
            if isinstance(outcome, Retry):  # the cancel went away again: it waits here instead
                await asyncio.sleep(outcome.after.total_seconds())
                continue
            self._window.finish(delivery, outcome)
            return


def is_any_of(record: Record, jobs: Container[tuple[str, str]]) -> bool:
    """Whether the record says that it asks for one of these jobs, each a tenant and an id.

    Tenant and job must both fit: what is withdrawn is handed to the handler, which would run a job
    that is not cancelled.
    """
    return job_claim_of(record) in jobs


def called_back(board: CancelBoard) -> Callable[[Record], bool]:
    """Whether a record's job was called back: it need not wait for its next try.

    For records that are read after their cancel, which withdrawing therefore missed.
    """

    def is_called_back(record: Record) -> bool:
        claim = job_claim_of(record)
        if claim is None:
            return False
        tenant, job = claim
        return board.cancel_of(job, tenant) is not None

    return is_called_back
