"""A delivered record, from verification to its last event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog
from penstock_contracts.dead import DeadReason
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import JobError, Output
from penstock_contracts.requests import Charge
from penstock_kit.clock import Clock
from penstock_kit.errors import Busy, Fatal, Rejected, Retryable
from penstock_kit.intake import Intake, RejectedJob, Sender, VerifiedRequest
from penstock_kit.jobs.attempts import AlreadyOver, Begin, LostOutcome, Moved, Verdict
from penstock_kit.jobs.cancelling import CancelBoard, Interruptible, JobCancelled, RunningJobs
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome
from penstock_kit.telemetry.logs import job_context
from penstock_kit.telemetry.tracing import TraceContext, child_of

from embedder.billing import Bill, Prices
from embedder.embed import Tasks
from embedder.inputs import Input, InputReader
from embedder.metrics import Metrics
from embedder.ports import ModelSpec

__all__ = ["JobHandler", "JobLedger", "Surroundings"]

log = structlog.get_logger(__name__)

_INSIST_S = 60.0
"""Longest wait for Kafka or the blob store to take a result before the job is run again."""
_INSIST_PAUSE_S = 0.5


class JobLedger(Protocol):
    """The kit's `Attempts`, as far as a handler needs it."""

    async def begin(
        self, request: VerifiedRequest, delivery: Delivery, *, made: int = 0
    ) -> Verdict:
        """The next attempt, or why there is none."""
        ...

    async def confirm(self, request: VerifiedRequest, begun: Begin) -> None:
        """Make sure, before a call is paid, that nobody has taken the job over; else `Busy`."""
        ...

    async def begin_again(self, begun: Begin, *, had_output: bool) -> Begin:
        """A further attempt within the same delivery."""
        ...

    async def finish(
        self,
        begun: Begin | LostOutcome,
        status: JobStatus | None,
        *,
        retry_in: timedelta | None = None,
    ) -> None:
        """Let go."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every job is handled with; `emitter` makes the voice of an attempt."""

    intake: Intake
    inputs: InputReader
    ledger: JobLedger
    board: CancelBoard
    running: RunningJobs
    emitter: Callable[[VerifiedRequest | Sender, int, TraceContext], JobEmitter]
    tasks: Tasks
    prices: Prices
    spec: ModelSpec
    metrics: Metrics
    clock: Clock
    worker: str


class JobHandler:
    """The lanes' handler. `Done` only after the job's last event is acknowledged."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def __call__(self, delivery: Delivery) -> Outcome:
        """Handle a record.

        Raises:
            Rejected: the record belongs into the dead letters.
            Busy: Kafka, Redis or the blob store is away, or the process drains; keep the record.
        """
        try:
            request = self._around.intake.verify(delivery.record)
        except RejectedJob as error:
            await self._refuse_sender(error)
            raise
        trace = child_of(request.envelope.traceparent, request.envelope.tracestate)
        with job_context(tenant=request.tenant, job=request.job, trace_id=trace.trace_id):
            try:
                return await _JobRun(self._around, request, delivery, trace).handle()
            except (Rejected, Busy, Fatal):
                raise
            except Retryable as error:
                # The lanes count these and give up; what is merely away is waited for.
                raise Busy(str(error), retry_after_s=error.retry_after_s or 1.0) from error

    async def _refuse_sender(self, error: RejectedJob) -> None:
        """Tell whoever waits for the job why it will never run; no attempt was ever begun."""
        envelope = error.sender.envelope
        trace = child_of(envelope.traceparent, envelope.tracestate)
        try:
            await self._around.emitter(error.sender, 1, trace).failed(_refused(error))
        except Retryable as away:
            raise Busy(str(away), retry_after_s=away.retry_after_s or 1.0) from away


class _JobRun:
    """One delivery of one job. Every path emits exactly one terminal event, or raises."""

    def __init__(
        self,
        around: Surroundings,
        request: VerifiedRequest,
        delivery: Delivery,
        trace: TraceContext,
    ) -> None:
        self._around = around
        self._request = request
        self._delivery = delivery
        self._trace = trace
        self._bill = Bill(around.prices)
        self._begun: Begin | LostOutcome | None = None

    async def handle(self) -> Outcome:
        """Begin, run, end."""
        begun = await self._around.ledger.begin(self._request, self._delivery)
        if isinstance(begun, AlreadyOver):
            self._around.board.forget(self._request.job)
            return Done()
        if isinstance(begun, Moved):
            return Done()
        emitter = self._around.emitter(self._request, begun.attempt, self._trace)
        if isinstance(begun, LostOutcome):
            await emitter.unknown_outcome(_LOST)
            self._begun = begun
            await self._end(JobStatus.UNKNOWN_OUTCOME)
            return Done()
        return await self._handle_begun(begun, emitter)

    async def _handle_begun(self, begun: Begin, emitter: JobEmitter) -> Outcome:
        running = self._around.running.begin(self._request.job, self._request.tenant)
        self._begun = begun
        refusal: Rejected | None = None
        status: JobStatus | None = None
        try:
            status = await self._before_start(begun, emitter, running)
            if status is None:
                try:
                    asked = await self._around.inputs.read(self._request)
                except Rejected as error:
                    refusal = error
                    await emitter.failed(_refused(error))
                    status = JobStatus.FAILED
                else:
                    status = await self._attempts(begun, emitter, asked, running)
        finally:
            self._around.running.end(running)
            await self._end(status)
        if refusal is not None:
            return Dead(DeadReason.POISON, refusal.code, str(refusal))
        return Done()

    async def _before_start(
        self, begun: Begin, emitter: JobEmitter, running: Interruptible
    ) -> JobStatus | None:
        """End the job free of charge: a rule drops it, it was called back, or it is too late."""
        if self._delivery.dropped_by is not None:
            rule = self._delivery.dropped_by
            await emitter.cancelled(by=f"rule:{rule}", was_running=False)
            return JobStatus.CANCELLED
        try:
            running.check()
        except JobCancelled as cancel:
            await emitter.cancelled(by=cancel.by, was_running=False)
            return JobStatus.CANCELLED
        deadline = self._request.request.deadline
        # Only a start is bound to the deadline; a job that had begun before goes on.
        if deadline is not None and begun.attempt == 1 and self._around.clock.now() > deadline:
            await emitter.expired(deadline)
            return JobStatus.EXPIRED
        return None

    async def _attempts(
        self, begun: Begin, emitter: JobEmitter, asked: Input, running: Interruptible
    ) -> JobStatus:
        """Attempt after attempt; how the last one ended."""
        policy = self._request.task_type.retry
        failures = 0
        while True:
            error = await self._attempt(emitter, asked, running)
            if isinstance(error, JobStatus):
                return error
            failures += 1
            if failures >= policy.attempts or self._may_run_once_only:
                await emitter.failed(error.error, usage=self._bill.usage())
                return JobStatus.FAILED
            delay = min(policy.base * policy.factor ** (failures - 1), policy.cap)
            delay = max(delay, timedelta(seconds=error.retry_after_s or 0))
            await emitter.retrying(
                error.error, delay_s=delay.total_seconds(), next_attempt=begun.attempt + 1
            )
            cancel = await _paused(running, delay)
            self._begun = begun = await self._around.ledger.begin_again(begun, had_output=False)
            emitter = self._around.emitter(self._request, begun.attempt, self._trace)
            if cancel is not None:
                await emitter.cancelled(by=cancel.by, was_running=True, usage=self._bill.usage())
                return JobStatus.CANCELLED

    @property
    def _may_run_once_only(self) -> bool:
        """Whether a failed attempt may have been charged and must not be repeated."""
        is_paid = self._around.spec.provider != "local"
        return is_paid and self._request.request.charge is Charge.AT_MOST_ONCE

    async def _attempt(
        self, emitter: JobEmitter, asked: Input, running: Interruptible
    ) -> JobStatus | _Failure:
        """`started`, the work, and the event that follows from it; a failure is not yet told."""
        around, request = self._around, self._request
        timeout = request.task_type.timeout
        await emitter.started(
            task=request.task,
            worker=around.worker,
            model=around.spec.name,
            provider=around.spec.provider,
            until=around.clock.now() + timeout,
        )
        assert isinstance(self._begun, Begin)
        await around.ledger.confirm(request, self._begun)
        try:
            output = await running.run(self._work(asked, timeout))
        except JobCancelled as cancel:
            await emitter.cancelled(by=cancel.by, was_running=True, usage=self._bill.usage())
            return JobStatus.CANCELLED
        except Rejected as error:
            await emitter.failed(_refused(error), usage=self._bill.usage())
            return JobStatus.FAILED
        except (Fatal, Busy):
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks a job is told to its owner
            return _failure(error, timeout)
        return await self._complete(emitter, output)

    async def _work(self, asked: Input, timeout: timedelta) -> Output:
        async with asyncio.timeout(timeout.total_seconds()):
            return await self._around.tasks.run(self._request.scope, asked, self._bill)

    async def _complete(self, emitter: JobEmitter, output: Output) -> JobStatus:
        """Write the result, patiently: it has been paid for."""
        around = self._around
        give_up = around.clock.monotonic() + _INSIST_S
        while True:
            try:
                await emitter.completed(
                    output,
                    usage=self._bill.usage(),
                    model=around.spec.name,
                    provider=around.spec.provider,
                )
            except Rejected as error:
                await emitter.failed(_refused(error), usage=self._bill.usage())
                return JobStatus.FAILED
            except Retryable:
                if around.clock.monotonic() > give_up:
                    raise
                await asyncio.sleep(_INSIST_PAUSE_S)
            else:
                return JobStatus.COMPLETED

    async def _end(self, status: JobStatus | None) -> None:
        begun = self._begun
        assert begun is not None, "only what was begun ends"
        await self._around.ledger.finish(begun, status)
        if status is None:
            return
        self._around.board.forget(self._request.job)
        self._around.metrics.jobs.labels(self._request.kind.value, status.value).inc()
        log.info("job.ended", task=self._request.task, status=status.value, attempt=begun.attempt)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An attempt failed in a way that another one may mend."""

    error: JobError
    retry_after_s: float | None = None


_LOST = JobError(
    type="server_error",
    code="unknown_outcome",
    message="a worker died in the middle of the job, and it may be charged at most once; look at "
    "the provider's log, then submit it again if it is worth a second charge",
)


async def _paused(running: Interruptible, delay: timedelta) -> JobCancelled | None:
    """Wait for the next attempt; who called the job back meanwhile, if somebody did."""
    try:
        await running.pause(delay.total_seconds())
    except JobCancelled as cancel:
        return cancel
    return None


def _refused(error: Rejected) -> JobError:
    return JobError(
        type="invalid_request_error",
        code=error.code,
        message=f"{error}; correct it and submit the job again",
        param=error.field,
    )


def _failure(error: Exception, timeout: timedelta) -> _Failure:
    if isinstance(error, TimeoutError):
        return _Failure(
            JobError(
                type="server_error",
                code="timeout",
                message=f"the attempt took longer than {timeout.total_seconds():.0f} s; submit "
                "less at a time, or raise the task's timeout in the tasks file",
                retryable=True,
            )
        )
    if isinstance(error, Retryable):
        code = _CODES.get(type(error).__name__, "unavailable")
        described = JobError(type="server_error", code=code, message=str(error), retryable=True)
        return _Failure(described, error.retry_after_s)
    log.error("job.surprise", exc_info=error)
    return _Failure(
        JobError(
            type="server_error",
            code="internal_error",
            message="the embedder failed in a way that nobody foresaw; its log has the cause",
            retryable=True,
        )
    )


_CODES = {"ModelAway": "model_away", "ModelFault": "model_fault", "StoreAway": "store_away"}
