"""One line of a batch: from its bytes to the job that it stands for, and to that job's end."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from penstock_contracts.batches import BatchState, BatchStatus
from penstock_kit.auth.principal import Principal
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.openai.batches.answers import FinishedLine, aborted, answered, refused
from gateway.openai.batches.checking import LineChecker, LineFault, NewLine, ReadLine
from gateway.openai.batches.lines import RawLine
from gateway.openai.batches.patience import PAUSE_S, Closing, patiently
from gateway.openai.batches.run_parts import RunParts
from gateway.openai.batches.watching import LineWaiter, LineWatch
from gateway.openai.ending import Ending

__all__ = ["LineRun"]

_LONGEST_PAUSE_S: Final = 5.0
"""A refused line asks again after this at the latest: room may come early."""


class LineRun:
    """Runs lines of one batch; any number at once."""

    def __init__(
        self,
        state: BatchState,
        *,
        principal: Principal,
        parts: RunParts,
        watch: LineWatch,
        closing: Closing,
    ) -> None:
        self._request = state.request
        self._is_taken_over = state.status is not BatchStatus.VALIDATING
        self._principal = principal
        self._scope = TenantScope(principal.tenant)
        self._parts = parts
        self._watch = watch
        self._closing = closing
        self._checker = LineChecker(
            parts.translator, endpoint=state.request.endpoint, principal=principal
        )

    async def run(self, line: RawLine) -> FinishedLine:
        """Submit the line unless an earlier run did, and wait for its end."""
        waiter = self._watch.begin(self._job(line))
        try:
            if await self._is_known(waiter):
                read = await self._checker.reread(line)
            else:
                new = read = await self._checker.read(line)
                if (refusal := await self._submit(new, waiter)) is not None:
                    return self._refused(read, None, refusal)
            value = await waiter.end()
        except LineFault as fault:
            return self._faulty(line, fault)
        finally:
            self._watch.end(waiter)
        return await self._finished(read, waiter.job, value)

    async def not_begun(self, line: RawLine) -> FinishedLine:
        """A line that this run has not begun and the batch ends before.

        What an earlier run has finished counts; what it has left running is called back.
        """
        if not self._is_taken_over:
            return self._unbegun(line)
        waiter = self._watch.begin(self._job(line))
        try:
            if not await self._is_known(waiter):
                return self._unbegun(line)
            await self._call_back(waiter)
            read = await self._checker.reread(line)
            value = await self._watch.end_within(waiter)
        except LineFault as fault:
            return self._faulty(line, fault)
        finally:
            self._watch.end(waiter)
        return await self._finished(read, waiter.job, value)

    async def _call_back(self, waiter: LineWaiter) -> None:
        """Order the job's end, unless it is over; waits for room in the log."""
        cancel_soon = self._parts.canceller.cancel_soon
        while not waiter.is_settled and not cancel_soon(self._principal, waiter.job):  # noqa: ASYNC110 - no event tells of room in the log
            await asyncio.sleep(PAUSE_S)

    async def _is_known(self, waiter: LineWaiter) -> bool:
        """Whether an earlier run has begun the line; if its job is over, the waiter is settled."""
        return self._is_taken_over and await patiently(lambda: self._watch.look(waiter))

    async def _submit(self, new: NewLine, waiter: LineWaiter) -> ApiError | None:
        """Submit, again and again where there is no room, until the batch ends.

        Returns why the line can never become a job.
        """
        clock = self._parts.clock
        while self._closing.reason is None:
            try:
                await self._parts.submitter.submit(
                    new.ask,
                    waiter.job,
                    principal=self._principal,
                    now=clock.now(),
                    deadline=self._request.expires_at,
                )
            except ApiError as error:
                if not error.kind.should_retry:
                    return error
                pause_s = error.details.retry_after_s or PAUSE_S
                await self._closing.pause(min(pause_s, _LONGEST_PAUSE_S))
            else:
                return None
        waiter.settle(None)
        return None

    async def _finished(
        self, read: ReadLine, job: str, value: dict[str, Any] | None
    ) -> FinishedLine:
        reason = self._closing.reason
        if value is None:
            return aborted(read.number, read.custom_id, job=job, reason=reason or "expired")
        try:
            ending = await patiently(lambda: self._parts.endings.read(self._scope, value))
        except ApiError as error:
            return self._refused(read, job, error)
        if ending.status == "completed":
            return self._answered(read, job, ending)
        if ending.status == "expired" or (ending.status == "cancelled" and reason is not None):
            return aborted(read.number, read.custom_id, job=job, reason=reason or "expired")
        return self._refused(read, job, ending.problem(), ending)

    def _unbegun(self, line: RawLine) -> FinishedLine:
        reason = self._closing.reason or "expired"
        return aborted(line.number, self._checker.custom_id(line), job=None, reason=reason)

    def _answered(self, read: ReadLine, job: str, ending: Ending) -> FinishedLine:
        try:
            body = read.tell(job, self._request.created_at, ending)
        except ApiError as error:
            return self._refused(read, job, error, ending)
        return answered(read.number, read.custom_id, job=job, body=body, usage=ending.usage)

    def _refused(
        self, read: ReadLine, job: str | None, error: ApiError, ending: Ending | None = None
    ) -> FinishedLine:
        return refused(
            read.number,
            read.custom_id,
            job=job,
            error=error,
            endpoint=self._request.endpoint,
            usage=None if ending is None else ending.usage,
        )

    def _faulty(self, line: RawLine, fault: LineFault) -> FinishedLine:
        """A line that was fine when the batch began: the deployment has changed since."""
        problem = fault.problem
        error = ApiError("invalid_value", problem.message, param=problem.param)
        custom_id = self._checker.custom_id(line)
        endpoint = self._request.endpoint
        return refused(line.number, custom_id, job=None, error=error, endpoint=endpoint)

    def _job(self, line: RawLine) -> str:
        return self._parts.submitter.job_of(self._principal.tenant, self._request.id, line.number)
