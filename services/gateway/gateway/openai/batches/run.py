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
from penstock_kit.ending import end_tasks
from penstock_kit.errors import Rejected
from penstock_kit.tenancy import TenantScope

from gateway.openai.batches.answers import FinishedLine, added
from gateway.openai.batches.checking import LineChecker
from gateway.openai.batches.journal import Journal
from gateway.openai.batches.line_run import LineRun
from gateway.openai.batches.lines import RawLine, numbered_lines
from gateway.openai.batches.patience import Closing, patiently
from gateway.openai.batches.run_parts import RunParts
from gateway.openai.batches.slots import SlotShare
from gateway.openai.batches.validating import look_through
from gateway.openai.batches.watching import LineWatch

__all__ = ["BatchRun"]

log = structlog.get_logger(__name__)

_END: Final = {"expired": BatchStatus.EXPIRED, "cancelled": BatchStatus.CANCELLED}


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
        self._principal = principal
        self._scope = TenantScope(principal.tenant)
        self._journal = journal
        self._parts = parts
        self._share = share
        self._watch = LineWatch(streams=parts.streams, table=parts.table, scope=self._scope)
        self._out = parts.files_out.begin(state.request)
        self._counts = BatchCounts(total=state.counts.total)
        self._usage = BatchUsage()
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
        """Go on from wherever the batch is."""
        try:
            await patiently(self._journal.recall)
            if not self._is_taken_over and not await self._validated():
                return
            ticking = asyncio.create_task(self._tick_for_ever(), name="batch tick")
            try:
                await self._run_lines()
            finally:
                await end_tasks(ticking)
            await self._finish()
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
            counts=self._counts,
            failed_at=self._parts.clock.now(),
        )

    def call_back(self) -> None:
        """Somebody has cancelled the batch."""
        self._close("cancelled")

    async def _validated(self) -> bool:
        checker = LineChecker(
            self._parts.translator, endpoint=self._request.endpoint, principal=self._principal
        )
        try:
            async with aclosing(self._lines()) as lines:
                report = await look_through(lines, checker, max_lines=self._parts.limits.max_lines)
            problems = report.problems
        except Rejected:
            message = "The input file is gone; upload it again."
            problems = [
                BatchProblem(code="input_file_gone", message=message, param="input_file_id")
            ]
        if problems:
            await self._journal.change(
                BatchStatus.FAILED, errors=problems, failed_at=self._parts.clock.now()
            )
            log.info("batch.failed", batch=self._request.id, code=problems[0].code)
            return False
        self._counts = BatchCounts(total=report.total)
        await self._journal.change(
            BatchStatus.IN_PROGRESS,
            counts=self._counts,
            model=report.model,
            in_progress_at=self._parts.clock.now(),
        )
        log.info("batch.began", batch=self._request.id, lines=report.total)
        return True

    async def _run_lines(self) -> None:
        try:
            async with asyncio.TaskGroup() as group, aclosing(self._lines()) as lines:
                async for chunk in lines:
                    for line in chunk:
                        await self._begin(group, line)
        except* Rejected:
            # The file was deleted under our hands: what has ended is kept, the rest is unknown.
            log.warning("batch.input_gone", batch=self._request.id)
            self._closing.close("unreadable")

    async def _begin(self, group: asyncio.TaskGroup, line: RawLine) -> None:
        if self._closing.reason is not None:
            await self._record(await self._one.not_begun(line))
            return
        size = len(line.raw or b"")
        await self._share.take(size)
        group.create_task(self._line(line, size), name="batch line")

    async def _line(self, line: RawLine, size: int) -> None:
        try:
            await self._record(await self._one.run(line))
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
        known: dict[str, Any] = {"counts": self._counts, "usage": self._usage}
        if ended is BatchStatus.CANCELLED:
            if self._journal.state.cancelling_at is None:
                await self._journal.change(BatchStatus.CANCELLING, cancelling_at=now(), **known)
        else:
            await self._journal.change(BatchStatus.FINALIZING, finalizing_at=now(), **known)
        output, errors = await self._out.store()
        await self._journal.change(
            ended,
            output_file_id=output,
            error_file_id=errors,
            **{f"{ended.value}_at": now()},
            **known,
        )
        log.info("batch.ended", batch=self._request.id, status=ended.value)

    async def _tick_for_ever(self) -> None:
        while True:
            try:
                await self._tick()
            except Exception:  # the loop's edge: one bad turn must not blind the batch
                log.exception("batch.tick_failed", batch=self._request.id)
            await asyncio.sleep(self._parts.limits.tick.total_seconds())

    async def _tick(self) -> None:
        if self._parts.clock.now() >= self._request.expires_at:
            self._close("expired")
        if self._closing.reason == "cancelled" and self._journal.state.cancelling_at is None:
            await self._journal.change(
                BatchStatus.CANCELLING, cancelling_at=self._parts.clock.now()
            )
        await self._journal.note(self._counts, self._usage)
        await self._watch.sweep()

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
        chunks = self._parts.contents.stream(self._scope, file.blob)
        limit = self._parts.limits.max_line_bytes
        async for lines in numbered_lines(chunks, max_bytes=limit):
            yield lines

    async def _input(self) -> FileRecord:
        get = self._parts.files.get
        value = await patiently(lambda: get(self._scope, self._request.input_file_id))
        if value is None:
            raise Rejected("the input file is gone", code="missing_blob")
        return decode_model(FileRecord, value)
