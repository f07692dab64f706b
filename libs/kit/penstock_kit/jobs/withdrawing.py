"""Cancels of jobs that still wait in the lanes: taken out and ended at once, free of charge."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from functools import partial

from penstock_kit.claims import job_claim_of
from penstock_kit.control import Cancel
from penstock_kit.ending import end_tasks
from penstock_kit.jobs.cancelling import CancelBoard
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.early_ends import EarlyEnds, WaitingRecords
from penstock_kit.lanes.outcomes import Delivery, Outcome

__all__ = ["Withdrawals", "called_back", "is_any_of"]

_BETWEEN_LOOKS_S = 0.1
"""Cancels that come one by one share a look then: each costs about a microsecond per record."""


class Withdrawals:
    """A Part. The handler finds the cancel on its board and ends the job without a call.

    Cancels that come together share one look at what waits: a batch's are a thousand in one fetch.
    """

    def __init__(
        self, records: WaitingRecords, handler: Callable[[Delivery], Awaitable[Outcome]]
    ) -> None:
        self._ends = EarlyEnds(records, handler)
        self._called_back: set[tuple[str, str]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._is_stopped = False

    async def start(self) -> None:
        """Nothing to wait for."""

    async def stop(self) -> None:
        """Let go of what is not ended yet; those records are delivered again."""
        self._is_stopped = True
        if self._looking is not None:
            await end_tasks(self._looking)
        await self._ends.stop()

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
            await self._ends.end(partial(is_any_of, jobs=jobs | before))
            before = jobs
            await asyncio.sleep(_BETWEEN_LOOKS_S)


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
