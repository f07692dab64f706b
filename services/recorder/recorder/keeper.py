"""Keeps the table whole: rebuilds it where Redis came up empty or older, forgets old jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from penstock_kit.ending import end_tasks
from penstock_kit.errors import Busy, Retryable
from penstock_kit.jobs.epoch import TableEpoch
from penstock_kit.jobs.expiry import JobExpiry
from penstock_kit.jobs.rebuild import Progress, Rebuild, RebuildRunning

from recorder.metrics import RecorderMetrics

__all__ = ["TableKeeper"]

log = structlog.get_logger(__name__)


class TableKeeper:
    """A Part with two loops: one watches the epoch of the table, one sweeps."""

    def __init__(
        self,
        *,
        epoch: TableEpoch,
        rebuild: Rebuild,
        expiry: JobExpiry,
        metrics: RecorderMetrics,
        owner: str,
        watch_interval: timedelta,
        sweep_interval: timedelta,
    ) -> None:
        self._epoch = epoch
        self._rebuild = rebuild
        self._expiry = expiry
        self._metrics = metrics
        self._owner = owner
        self._watch_s = watch_interval.total_seconds()
        self._sweep_s = sweep_interval.total_seconds()
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble: str | None = "the table has not been looked at yet; wait a moment"

    @property
    def trouble(self) -> str | None:
        """Why the table may be incomplete, or None."""
        return self._trouble

    async def start(self) -> None:
        """Begin both loops."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(_for_ever(self._watch, self._watch_s), name="watch table"),
                asyncio.create_task(_for_ever(self._sweep, self._sweep_s), name="sweep jobs"),
            ]

    async def stop(self) -> None:
        """End both; a rebuild that is cut begins anew elsewhere."""
        await end_tasks(*self._tasks)
        self._tasks = []

    async def _watch(self) -> None:
        try:
            if await self._epoch.is_whole():
                self._trouble = None
                return
            self._trouble = "the job table is being rebuilt from the topics; wait until it is done"
            log.warning("table.incomplete")
            report = await self._rebuild.run(self._owner, self._note)
        except RebuildRunning:
            return  # a sister is at it
        except (Busy, Retryable) as error:
            self._trouble = str(error)
            self._metrics.rebuilds.labels("cut").inc()
            log.warning("table.rebuild_cut", error=str(error))
            return
        self._trouble = None
        self._metrics.rebuilds.labels("done").inc()
        log.info(
            "table.rebuilt",
            records=report.records,
            jobs=report.jobs,
            republished=report.republished,
            seconds=round(report.seconds, 3),
        )

    def _note(self, progress: Progress) -> None:
        self._trouble = (
            f"the job table is being rebuilt ({progress.stage}, {progress.records} records read); "
            "wait until it is done"
        )

    async def _sweep(self) -> None:
        try:
            removed = await self._expiry.sweep()
        except Busy as error:
            log.warning("sweep.cut", error=str(error))
            return
        if removed:
            self._metrics.expired.inc(removed)
            log.info("jobs.expired", count=removed)


async def _for_ever(step: Callable[[], Awaitable[None]], pause_s: float) -> None:
    while True:
        try:
            await step()
        except Exception:  # the loop's edge: one bad turn must not end the watch
            log.exception("keeper.failed", step=step.__name__)
        await asyncio.sleep(pause_s)
