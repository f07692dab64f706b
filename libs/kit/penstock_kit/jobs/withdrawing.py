"""Cancels of jobs that still wait in the lanes: taken out and ended at once, free of charge."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from penstock_contracts.dead import DeadReason
from penstock_contracts.ids import derived_job_id

from penstock_kit.control import Cancel
from penstock_kit.ending import end_tasks
from penstock_kit.errors import Busy, Rejected, Retryable
from penstock_kit.jobs.cancelling import CancelBoard
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome, Retry

__all__ = ["Withdrawals", "called_back", "is_of_job"]

log = structlog.get_logger(__name__)

_PAUSE_S = 1.0


class Window(Protocol):
    """The lanes, as far as withdrawing needs them."""

    def withdraw(self, match: Callable[[Record], bool]) -> list[Delivery]:
        """Take waiting records out."""
        ...

    def finish(self, delivery: Delivery, outcome: Done | Dead) -> None:
        """End one that was taken out."""
        ...


class Withdrawals:
    """A Part. The handler finds the cancel on its board and ends the job without a call."""

    def __init__(self, window: Window, handler: Callable[[Delivery], Awaitable[Outcome]]) -> None:
        self._window = window
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    async def start(self) -> None:
        """Nothing to wait for."""

    async def stop(self) -> None:
        """Let go of what is not ended yet; those records are delivered again."""
        self._is_stopped = True
        await end_tasks(*self._tasks)

    def on_cancel(self, cancel: Cancel) -> None:
        """Withdraw the job's record, if it waits here."""
        if self._is_stopped:
            return
        for delivery in self._window.withdraw(lambda record: is_of_job(record, cancel)):
            task = asyncio.create_task(self._end(delivery), name=f"withdraw {cancel.job}")
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


def is_of_job(record: Record, cancel: Cancel) -> bool:
    """Whether the record asks for the job that was called back, by its headers alone.

    Tenant and job must both fit: what is withdrawn is handed to the handler, which would run a job
    that is not cancelled.
    """
    return _job_of(record, cancel.tenant) == cancel.job


def called_back(board: CancelBoard) -> Callable[[Record], bool]:
    """Whether a record's job was called back: it need not wait for its next try.

    For records that are read after their cancel, which withdrawing therefore missed.
    """

    def is_called_back(record: Record) -> bool:
        tenant = dict(record.headers).get("ce_tenant", b"").decode(errors="replace")
        job = _job_of(record, tenant)
        return job is not None and board.cancel_of(job, tenant) is not None

    return is_called_back


def _job_of(record: Record, tenant: str) -> str | None:
    """The job id that the headers claim for this tenant; None if they claim none."""
    named = {name: value for name, value in record.headers if name.startswith("ce_")}
    if named.get("ce_tenant") != tenant.encode(errors="replace"):
        return None
    subject = named.get("ce_subject")
    if subject is not None:
        return subject.decode(errors="replace")
    source, event_id = named.get("ce_source"), named.get("ce_id")
    if source is None or event_id is None:
        return None
    return derived_job_id(
        tenant=tenant,
        source=source.decode(errors="replace"),
        event_id=event_id.decode(errors="replace"),
    )
