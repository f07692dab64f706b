"""One batch from its request to its files.

Nothing of a run is kept but what the log has: the batch's state, its lines' jobs (whose ids follow
from batch and line) and their ends. So a run can end anywhere, and the next one goes on: it reads
the file again, finds the ends of jobs that are over, waits for those that run, submits the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import structlog
from penstock_contracts.batches import (
    BatchCounts,
    BatchProblem,
    BatchState,
    BatchStatus,
    BatchUsage,
)
from penstock_contracts.codec import decode_model
from penstock_contracts.files import FileRecord
from penstock_kit.auth.principal import Principal
from penstock_kit.batches.lease import BatchHeld
from penstock_kit.ending import end_tasks
from penstock_kit.errors import Rejected
from penstock_kit.tenancy import TenantScope

from gateway.openai.batches.answers import FinishedLine, added
from gateway.openai.batches.checking import LineChecker
from gateway.openai.batches.journal import Journal
from gateway.openai.batches.line_run import LineRun
from gateway.openai.batches.lines import RawLine, numbered_lines
from gateway.openai.batches.patience import Closing, patiently, wait_for_store
from gateway.openai.batches.run_parts import RunParts
from gateway.openai.batches.slots import SlotShare
from gateway.openai.batches.validating import FileReport, look_through
from gateway.openai.batches.watching import LineWatch

__all__ = ["BatchRun"]

log = structlog.get_logger(__name__)

_END: Final = {"expired": BatchStatus.EXPIRED, "cancelled": BatchStatus.CANCELLED}


_Known = dict[str, Any]
"""Members of a `BatchState`."""


class BatchRun:
    """Runs one batch to its end, or until it is cancelled as a task (`asyncio`)."""

    def __init__(
        self,
        state: BatchState,
        *,
        principal: Principal,
        journal: Journal,
        parts: RunParts,
        share: SlotShare,
    ) -> None:
        self._request = state.request
        self._is_taken_over = state.status is not BatchStatus.VALIDATING
        self._lines_ended_at = state.finalizing_at
        self._principal = principal
        self._scope = TenantScope(principal.tenant)
        self._journal = journal
        self._parts = parts
        self._share = share
        self._watch = LineWatch(streams=parts.streams, table=parts.table, scope=self._scope)
        self._out = parts.files_out.begin(state.request)
        self._counts = BatchCounts(total=state.counts.total)
        self._usage = BatchUsage()
        self._problems: list[BatchProblem] = []
        self._closing = Closing()
        self._one = LineRun(
            state,
            principal=principal,
            parts=parts,
            watch=self._watch,
            closing=self._closing,
        )

    @property
    def tenant(self) -> str:
        """Whose batch it is."""
        return self._request.tenant

    async def run(self) -> None:
        """Go on from wherever the batch is.

        Raises:
            BatchHeld: another gateway does already.
        """
        try:
            await patiently(self._journal.recall)
            if not self._is_taken_over and not await self._validated():
                return
            running = asyncio.current_task()
            assert running is not None
            ticking = asyncio.create_task(self._tick_for_ever(running), name="batch tick")
            try:
                await self._run_lines()
            finally:
                await end_tasks(ticking)
            await (self._give_up() if self._problems else self._finish())
        finally:
            self._out.close()

    async def fail(self) -> None:
        """Give up for good: a fault of ours keeps the batch from ending."""
        message = (
            "The batch could not be run because of a fault of ours; its jobs can be looked at."
        )
        await self._journal.change(
            BatchStatus.FAILED,
            errors=[BatchProblem(code="internal_error", message=message)],
            **self._reached(),
            failed_at=self._parts.clock.now(),
        )

    def call_back(self) -> None:
        """Somebody has cancelled the batch; too late if an earlier run was through its lines."""
        if self._lines_ended_at is None:
            self._close("cancelled")

    async def _validated(self) -> bool:
        """Look through the file and begin; False: the batch is over already.

        A batch that is called back meanwhile never begins: its lines are read to be named alone.
        """
        report = await self._report()
        if report.problems:
            await (self._finish() if self._is_cancelled else self._refuse(report.problems))
            return False
        now = self._parts.clock.now()
        self._counts = BatchCounts(total=report.total)
        known: _Known = {"counts": self._counts, "model": report.model}
        if self._is_cancelled:
            await self._journal.change(BatchStatus.CANCELLING, cancelling_at=now, **known)
        else:
            await self._journal.change(BatchStatus.IN_PROGRESS, in_progress_at=now, **known)
            log.info("batch.began", batch=self._request.id, lines=report.total)
        return True

    async def _refuse(self, problems: list[BatchProblem]) -> None:
        await self._journal.change(
            BatchStatus.FAILED, errors=problems, failed_at=self._parts.clock.now()
        )
        log.info("batch.failed", batch=self._request.id, code=problems[0].code)

    async def _report(self) -> FileReport:
        checker = LineChecker(
            self._parts.translator, endpoint=self._request.endpoint, principal=self._principal
        )
        limit = self._parts.limits.max_lines
        try:
            async with aclosing(self._lines()) as lines:
                return await look_through(lines, checker, max_lines=limit)
        except Rejected:
            return FileReport(problems=[_input_gone()])

    async def _run_lines(self) -> None:
        self._look_at_clock()
        async with asyncio.TaskGroup() as group:
            try:
                async with aclosing(self._lines()) as lines:
                    async for chunk in lines:
                        for line in chunk:
                            await self._begin(group, line)
            except Rejected:
                # Deleted under our hands. What has begun is paid for: it ends, and is kept.
                log.warning("batch.input_gone", batch=self._request.id)
                self._problems.append(_input_gone())

    async def _begin(self, group: asyncio.TaskGroup, line: RawLine) -> None:
        size = len(line.raw or b"")
        await self._share.take(size)
        group.create_task(self._line(line, size), name="batch line")

    async def _line(self, line: RawLine, size: int) -> None:
        begin = self._one.run if self._closing.reason is None else self._one.not_begun
        try:
            await self._record(await begin(line))
        finally:
            self._share.give_back(size)

    async def _record(self, line: FinishedLine) -> None:
        counts = self._counts
        is_well = line.code is None
        self._counts = BatchCounts.model_construct(
            total=counts.total,
            completed=counts.completed + is_well,
            failed=counts.failed + (not is_well),
        )
        self._usage = added(self._usage, line.usage)
        self._out.add(line.text, is_well=is_well)
        news = (line.number, line.custom_id, line.job, line.status_code, line.code)
        await self._journal.tell(news, self._counts)

    async def _finish(self) -> None:
        now = self._parts.clock.now
        ended = _END.get(self._closing.reason or "", BatchStatus.COMPLETED)
        known: _Known = {"counts": self._counts, "usage": self._usage}
        if ended is BatchStatus.CANCELLED:
            if self._journal.state.cancelling_at is None:
                await self._journal.change(BatchStatus.CANCELLING, cancelling_at=now(), **known)
        elif self._lines_ended_at is None:
            await self._journal.change(BatchStatus.FINALIZING, finalizing_at=now(), **known)
        await self._end(ended, known)

    async def _give_up(self) -> None:
        """The file cannot be read to its end: what its lines brought until then is kept."""
        await self._end(BatchStatus.FAILED, {**self._reached(), "errors": self._problems})

    async def _end(self, ended: BatchStatus, known: _Known) -> None:
        output, errors = await self._out.store(beforehand=self._journal.require_newest)
        await self._journal.change(
            ended,
            output_file_id=output,
            error_file_id=errors,
            **{f"{ended.value}_at": self._parts.clock.now()},
            **known,
        )
        log.info("batch.ended", batch=self._request.id, status=ended.value)

    def _reached(self) -> _Known:
        """Counts and usage of this run, or of an earlier one that came further."""
        kept = self._journal.state
        if _done(kept.counts) > _done(self._counts):
            return {"counts": kept.counts, "usage": kept.usage}
        return {"counts": self._counts, "usage": self._usage}

    async def _tick_for_ever(self, running: asyncio.Task[Any]) -> None:
        while True:
            try:
                await self._tick()
            except BatchHeld:
                log.warning("batch.lease_lost", batch=self._request.id)
                running.cancel()
                return
            except Exception:  # the loop's edge: one bad turn must not blind the batch
                log.exception("batch.tick_failed", batch=self._request.id)
            await asyncio.sleep(self._parts.limits.tick.total_seconds())

    async def _tick(self) -> None:
        self._look_at_clock()
        if self._is_cancelled and self._journal.state.cancelling_at is None:
            await self._journal.change(
                BatchStatus.CANCELLING, cancelling_at=self._parts.clock.now()
            )
        await self._journal.note(self._counts, self._usage)
        await self._watch.sweep()

    @property
    def _is_cancelled(self) -> bool:
        return self._closing.reason == "cancelled"

    def _look_at_clock(self) -> None:
        at = self._lines_ended_at or self._parts.clock.now()
        if at >= self._request.expires_at:
            self._close("expired")

    def _close(self, reason: str) -> None:
        """Begin nothing more, call back what runs, and wait for it a moment."""
        if not self._closing.close(reason):
            return
        for job in self._watch.jobs:
            self._parts.canceller.cancel_soon(self._principal, job)
        grace_s = self._parts.limits.grace.total_seconds()
        asyncio.get_running_loop().call_later(grace_s, self._watch.give_up)

    async def _lines(self) -> AsyncGenerator[list[RawLine], None]:
        file = await self._input()
        chunks = self._parts.contents.stream(self._scope, file.blob, on_away=wait_for_store)
        limit = self._parts.limits.max_line_bytes
        async for lines in numbered_lines(chunks, max_bytes=limit):
            yield lines

    async def _input(self) -> FileRecord:
        get = self._parts.files.get
        value = await patiently(lambda: get(self._scope, self._request.input_file_id))
        if value is None:
            raise Rejected("the input file is gone", code="missing_blob")
        return decode_model(FileRecord, value)


def _done(counts: BatchCounts) -> int:
    return counts.completed + counts.failed


def _input_gone() -> BatchProblem:
    message = "The input file is gone; upload it again."
    return BatchProblem(code="input_file_gone", message=message, param="input_file_id")
