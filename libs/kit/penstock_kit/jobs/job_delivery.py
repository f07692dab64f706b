"""One delivery of one job, from the ledger's answer to the record's fate."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Final, Generic, TypeVar

import structlog
from penstock_contracts.dead import DeadReason
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import JobError, Usage

from penstock_kit.errors import Busy, Fatal, Rejected, Retryable
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.attempts import AlreadyOver, Begin, LostOutcome, Verdict
from penstock_kit.jobs.cancelling import JobCancelled
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.jobs.retry_state import RetryState
from penstock_kit.jobs.under_way import Again, DeadlinePassed, Ended, Ending, JobUnderWay
from penstock_kit.jobs.work import HandlerParts, Work
from penstock_kit.lanes.backoff import Backoff
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome, Retry
from penstock_kit.telemetry.tracing import TraceContext

__all__ = ["JobDelivery", "refusal"]

log = structlog.get_logger(__name__)

_MAX_SURPRISES: Final = 3
"""Tries after which an error that nobody foresaw ends the job."""
_MAX_CRASHES: Final = 3
"""Attempts that took their process down after which the job is not tried again."""

Asked = TypeVar("Asked")


class JobDelivery(Generic[Asked]):
    """One delivery of one verified job. Every path ends, pauses or keeps the record."""

    def __init__(
        self,
        work: Work[Asked],
        parts: HandlerParts,
        request: VerifiedRequest,
        delivery: Delivery,
        trace: TraceContext,
    ) -> None:
        self._work = work
        self._parts = parts
        self._request = request
        self._delivery = delivery
        self._trace = trace
        self._state = RetryState.read(delivery.state)

    async def handle(self) -> Outcome:
        """Begin, run, end; errors as the handler's."""
        try:
            asked = await self._work.prepare(self._request)
        except Rejected as error:
            await self._end_unrun(refusal(error))
            raise
        except (Retryable, Busy, Fatal):
            raise
        except Exception as error:
            log.exception("job.surprise", surprises=self._state.surprises + 1)
            return await self._unprepared(error)
        begun = await self._begin()
        if isinstance(begun, LostOutcome):
            told = self._emitter(begun.attempt).unknown_outcome(_LOST)
            await self._end(begun, JobStatus.UNKNOWN_OUTCOME, told)
        if isinstance(begun, AlreadyOver) and begun.status is JobStatus.FAILED and begun.condemned:
            reason, code = begun.condemned
            return Dead(DeadReason(reason), code, _UNWRITTEN)
        if not isinstance(begun, Begin):
            return Done()
        if begun.crashes >= _MAX_CRASHES:
            return await self._poison(begun)
        return await self._run(begun, asked)

    async def _begin(self) -> Verdict:
        """What only ends the job need not wait until the next attempt is due."""
        parts, request = self._parts, self._request
        begun = await parts.ledger.begin(
            request,
            self._delivery,
            made=self._state.attempt,
            even_early=self._is_called_back or self._delivery.dropped_by is not None,
        )
        if isinstance(begun, AlreadyOver):
            parts.board.forget(request.job)
        return begun

    @property
    def _is_in_order(self) -> bool:
        """Whether later records of the key have to wait for this one."""
        return self._request.request.conversation is not None

    @property
    def _is_called_back(self) -> bool:
        request = self._request
        return self._parts.board.cancel_of(request.job, request.tenant) is not None

    async def _run(self, begun: Begin, asked: Asked) -> Outcome:
        parts, request = self._parts, self._request
        running = parts.running.begin(request.job, request.tenant)
        if self._state.has_shown and not begun.had_output:
            begun = replace(begun, had_output=True)
        job = JobUnderWay(
            request,
            begun,
            running=running,
            ledger=parts.ledger,
            make_emitter=self._emitter,
            clock=parts.clock,
            worker=parts.worker,
            trace=self._trace,
            plan=self._state.plan,
        )
        ending: Ending | None = None
        try:
            ending = await self._before_start(job) or await self._work.run(job, asked)
        except (Rejected, Retryable, Busy, Fatal):
            raise
        except Exception as error:
            log.exception("job.surprise", surprises=self._state.surprises + 1)
            ending = await self._after_surprise(job, error)
        finally:
            parts.running.end(running)
            await self._finish(job.begun, ending, may_have_paid=job.may_have_paid)
        if isinstance(ending, Ended):
            return ending.dead or Done()
        return self._retry(job, ending)

    async def _before_start(self, job: JobUnderWay) -> Ending | None:
        """End the job free of charge if it was called back, dropped, or is too late."""
        try:
            self._check_wanted(job)
            job.check_time()
        except JobCancelled as cancel:
            return await job.cancelled(cancel.by, usage=self._used())
        except DeadlinePassed:
            return await job.expired()
        return None

    def _check_wanted(self, job: JobUnderWay) -> None:
        """Raise `JobCancelled` if somebody or a rule called the job back."""
        job.running.check()
        if self._delivery.dropped_by is not None:
            raise JobCancelled(f"rule:{self._delivery.dropped_by}")

    async def _after_surprise(self, job: JobUnderWay, error: Exception) -> Ending:
        """Again, unless that was the last try, or the call must not be repeated."""
        if isinstance(error, DeadlinePassed):
            return await job.expired()
        surprises = self._state.surprises + 1
        is_paid_once = job.is_charged_once and job.may_have_paid
        if job.emitter.is_over:
            return Again(after=_soon(surprises, self._parts), code=_CODE, detail="", plan=job.plan)
        if surprises >= _MAX_SURPRISES or is_paid_once:
            dead = Dead(DeadReason.FAILURE, _CODE, type(error).__name__, job.begun.attempt)
            return await job.fail(_SURPRISE, usage=self._used(), dead=dead)
        pause = _soon(surprises, self._parts)
        return await job.retry(_SURPRISE, pause, plan=job.plan, usage=self._used())

    def _retry(self, job: JobUnderWay, again: Again) -> Retry:
        state = RetryState(
            attempt=job.begun.attempt,
            surprises=self._state.surprises + (again.code == _CODE),
            has_shown=job.has_shown,
            plan=again.plan,
        )
        return Retry(
            after=timedelta() if self._is_called_back else again.after,
            code=again.code,
            detail=again.detail,
            in_place=self._is_in_order,
            state=state.write(),
        )

    async def _poison(self, begun: Begin) -> Outcome:
        dead = Dead(DeadReason.POISON, _POISON.code, _POISON.message, attempts=begun.attempt)
        await self._parts.ledger.condemn(begun, reason=dead.reason.value, code=dead.code)
        await self._end(begun, JobStatus.FAILED, self._emitter(begun.attempt).failed(_POISON))
        return dead

    async def _unprepared(self, error: Exception) -> Outcome:
        """Nobody foresaw this, and no attempt was begun."""
        surprises = self._state.surprises + 1
        if surprises >= _MAX_SURPRISES:
            await self._end_unrun(_SURPRISE)
            return Dead(DeadReason.FAILURE, _CODE, type(error).__name__, self._state.attempt)
        return Retry(
            after=_soon(surprises, self._parts),
            code=_CODE,
            detail=type(error).__name__,
            in_place=self._is_in_order,
            state=replace(self._state, surprises=surprises).write(),
        )

    async def _end_unrun(self, error: JobError) -> None:
        """End the job without a call, under the next attempt number: it may have run before."""
        begun = await self._begin()
        if isinstance(begun, Begin | LostOutcome):
            await self._end(begun, JobStatus.FAILED, self._emitter(begun.attempt).failed(error))

    async def _end(
        self, begun: Begin | LostOutcome, status: JobStatus, told: Awaitable[None]
    ) -> None:
        """End without a call; where that cannot be told, whoever has the record next does so."""
        ending: Ended | None = None
        try:
            await told
            ending = Ended(status)
        finally:
            # What an earlier attempt may have called stays as uncertain as it was.
            await self._finish(begun, ending, may_have_paid=True)

    async def _finish(
        self, begun: Begin | LostOutcome, ending: Ending | None, *, may_have_paid: bool = False
    ) -> None:
        ledger = self._parts.ledger
        if isinstance(ending, Again):
            await ledger.finish(begun, None, retry_in=ending.after)
        elif ending is None:
            # What was never called is over; of the rest nobody knows.
            await ledger.finish(begun, None, retry_in=None if may_have_paid else timedelta())
        else:
            await ledger.finish(begun, ending.status)
            self._parts.board.forget(self._request.job)
            self._parts.on_ended(self._request, ending.status)
            log.info(
                "job.ended",
                task=self._request.task,
                status=ending.status.value,
                attempt=begun.attempt,
            )

    def _used(self) -> Usage:
        return self._work.used(self._state.plan)

    def _emitter(self, attempt: int) -> JobEmitter:
        return self._parts.emitter(self._request, attempt, self._trace)


def refusal(error: Rejected) -> JobError:
    """What is wrong with a request, in the words of the API."""
    return JobError(
        type="invalid_request_error",
        code=error.code,
        message=f"{error}; correct it and submit the job again",
        param=error.field,
    )


def _soon(surprises: int, parts: HandlerParts) -> timedelta:
    return Backoff().pause(surprises, random=parts.random)


_CODE: Final = "internal_error"
_SURPRISE: Final = JobError(
    type="server_error",
    code=_CODE,
    message="the worker failed in a way that nobody foresaw; the operator finds the cause in the "
    "worker's log, and after the last try the record in ai.dead.v1",
    retryable=True,
)
_POISON: Final = JobError(
    type="server_error",
    code="poison_crash",
    message=f"{_MAX_CRASHES} workers died while they ran this job, so it is not tried again; the "
    "operator finds the record in ai.dead.v1 and the crashes in the workers' logs",
)
_UNWRITTEN: Final = (
    "the worker that ended the job stopped before its dead letter was known as written; this one "
    "may be the second, and the job's `failed` event tells what was wrong"
)
_LOST: Final = JobError(
    type="server_error",
    code="unknown_outcome",
    message="a worker died in the middle of the call, and the job may be charged at most once; "
    "look at the provider's log, then submit it again if it is worth a second charge",
)
