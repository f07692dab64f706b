"""Cancels on their way to running calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from penstock_kit.control import Cancel
from penstock_kit.errors import PenstockError

__all__ = ["CancelBoard", "Interruptible", "JobCancelled", "RunningJobs"]

T = TypeVar("T")


class JobCancelled(PenstockError):
    """Raised inside a running job once its cancel arrived; the handler books what was used."""

    def __init__(self, by: str | None) -> None:
        super().__init__("the job was called back")
        self.by = by


class CancelBoard(Protocol):
    """Knows who called which job back."""

    def cancel_of(self, job: str, tenant: str) -> Cancel | None:
        """The cancel of this tenant's job, or None."""
        ...

    def on_cancel(self, callback: Callable[[Cancel], None]) -> None:
        """Tell of each new cancel, on the event loop."""
        ...

    def forget(self, job: str) -> None:
        """The job has ended."""
        ...


class Interruptible:
    """One job under way. Only what runs inside `run` can be interrupted.

    Writes of events are not: a cancelled write may or may not be in the log.
    """

    def __init__(self, job: str, tenant: str, board: CancelBoard) -> None:
        self.job = job
        self.tenant = tenant
        self._board = board
        self._task: asyncio.Task[Any] | None = None

    def check(self) -> None:
        """Raise `JobCancelled` if somebody called the job back."""
        cancel = self._board.cancel_of(self.job, self.tenant)
        if cancel is not None:
            raise JobCancelled(cancel.by)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do interruptible work.

        Raises:
            JobCancelled: the work was cut off, or not even begun.
        """
        try:
            self.check()
        except JobCancelled:
            work.close()
            raise
        self._task = task = asyncio.ensure_future(work)
        try:
            return await task
        except asyncio.CancelledError:
            if not task.cancelled():
                # Not the cancel of the work but of the handler itself: take the work along.
                task.cancel()
                await asyncio.wait({task})
                raise
            self.check()
            raise
        finally:
            self._task = None

    def interrupt(self) -> None:
        """Cut off what runs now."""
        if self._task is not None:
            self._task.cancel()


class RunningJobs:
    """All jobs under way in this process, by id."""

    def __init__(self, board: CancelBoard) -> None:
        self._board = board
        self._jobs: dict[str, Interruptible] = {}
        board.on_cancel(self._on_cancel)

    def __len__(self) -> int:
        return len(self._jobs)

    def begin(self, job: str, tenant: str) -> Interruptible:
        """Register a job; hand it back to `end`."""
        running = self._jobs[job] = Interruptible(job, tenant, self._board)
        return running

    def end(self, running: Interruptible) -> None:
        """The job is no longer under way here."""
        if self._jobs.get(running.job) is running:
            del self._jobs[running.job]

    def _on_cancel(self, cancel: Cancel) -> None:
        running = self._jobs.get(cancel.job)
        if running is not None and running.tenant == cancel.tenant:
            running.interrupt()
