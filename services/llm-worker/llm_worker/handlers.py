"""A delivered record, from verification to its last event."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

import structlog
from penstock_contracts.dead import DeadReason
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import JobError
from penstock_kit.errors import Busy, Fatal, Rejected, Retryable
from penstock_kit.intake import Intake, RejectedJob, Sender, VerifiedRequest
from penstock_kit.jobs.attempts import AlreadyOver, Begin, LostOutcome, Moved, Verdict
from penstock_kit.jobs.cancelling import CancelBoard, Interruptible, JobCancelled, RunningJobs
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome
from penstock_kit.telemetry.logs import job_context
from penstock_kit.telemetry.tracing import TraceContext, child_of

from llm_worker.prompts import Prompt, PromptReader, before_turn
from llm_worker.running import AttemptLedger, JobRun, RunnerParts

__all__ = ["JobHandler", "JobLedger"]

log = structlog.get_logger(__name__)

_MAX_SURPRISES = 3
"""Deliveries after which an error that nobody foresaw ends the job."""


class JobLedger(AttemptLedger, Protocol):
    """The kit's `Attempts`, as far as a handler needs it."""

    async def begin(
        self, request: VerifiedRequest, delivery: Delivery, *, made: int = 0
    ) -> Verdict:
        """The next attempt, or why there is none."""
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


class JobHandler:
    """The lanes' handler. `Done` only after the job's last event is acknowledged.

    What is wrong with a record of a verified tenant becomes a `failed` event as well as a dead
    letter.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        prompts: PromptReader,
        ledger: JobLedger,
        board: CancelBoard,
        running: RunningJobs,
        parts: RunnerParts,
    ) -> None:
        self._intake = intake
        self._prompts = prompts
        self._ledger = ledger
        self._board = board
        self._running = running
        self._parts = parts

    async def __call__(self, delivery: Delivery) -> Outcome:
        """Handle a record.

        Raises:
            Rejected: the record belongs into the dead letters.
            Busy: Kafka, Redis or the blob store is away, or the process drains; keep the record.
        """
        try:
            request = self._intake.verify(delivery.record)
        except RejectedJob as error:
            await self._refuse_sender(error.sender, error)
            raise
        trace = child_of(request.envelope.traceparent, request.envelope.tracestate)
        with job_context(tenant=request.tenant, job=request.job, trace_id=trace.trace_id):
            try:
                return await self._handle(request, delivery, trace)
            except (Rejected, Busy, Fatal):
                raise
            except Retryable as error:
                # The lanes count these and give up; what is merely away is waited for.
                raise Busy(str(error), retry_after_s=error.retry_after_s or 1.0) from error
            except Exception as error:
                log.exception("job.surprise", deliveries=delivery.deliveries)
                if delivery.deliveries < _MAX_SURPRISES:
                    raise
                return await self._give_up(request, delivery, error)

    async def _handle(
        self, request: VerifiedRequest, delivery: Delivery, trace: TraceContext
    ) -> Outcome:
        try:
            prompt = await self._prompts.read(request)
        except Rejected as error:
            await self._fail(request, delivery, _refusal(error))
            raise
        begun = await self._ledger.begin(request, delivery)
        if isinstance(begun, AlreadyOver):
            self._board.forget(request.job)
            return Done()
        if isinstance(begun, Moved):
            return Done()
        if isinstance(begun, LostOutcome):
            status: JobStatus | None = await self._lost(request, begun, trace)
            await self._end(request, begun, status)
            return Done()
        running = self._running.begin(request.job, request.tenant)
        current: list[Begin] = [begun]
        status = None
        try:
            if delivery.dropped_by is not None:
                status = await self._drop(request, begun, delivery.dropped_by, trace)
            else:
                status = await self._before_start(request, begun, running, trace)
            if status is None:
                status = await self._run(request, prompt, running, trace, current)
        finally:
            self._running.end(running)
            await self._end(request, current[-1], status)
        return Done()

    async def _drop(
        self, request: VerifiedRequest, begun: Begin, rule: str, trace: TraceContext
    ) -> JobStatus:
        """An operator's rule ends the job before any call: free of charge."""
        emitter = self._parts.emitter(request, begun.attempt, trace)
        await emitter.cancelled(by=f"rule:{rule}", was_running=False)
        return JobStatus.CANCELLED

    async def _before_start(
        self, request: VerifiedRequest, begun: Begin, running: Interruptible, trace: TraceContext
    ) -> JobStatus | None:
        """End the job before any call if it was called back, or its deadline has passed."""
        emitter = self._parts.emitter(request, begun.attempt, trace)
        try:
            running.check()
        except JobCancelled as cancel:
            await emitter.cancelled(by=cancel.by, was_running=False)
            return JobStatus.CANCELLED
        deadline = request.request.deadline
        # Only a start is bound to the deadline; a job that had begun before goes on.
        if deadline is not None and begun.attempt == 1 and self._parts.clock.now() > deadline:
            await emitter.expired(deadline)
            return JobStatus.EXPIRED
        return None

    async def _run(
        self,
        request: VerifiedRequest,
        prompt: Prompt,
        running: Interruptible,
        trace: TraceContext,
        current: list[Begin],
    ) -> JobStatus:
        """Run the job; `current` gets every attempt that was begun, for the ledger."""
        history = None
        if request.request.conversation is not None:
            history = before_turn(
                await self._parts.conversations.load(request.scope, request.request.conversation),
                request.job,
                prompt,
            )
        run = JobRun(
            self._parts,
            request,
            prompt,
            begun=current[-1],
            history=history,
            running=running,
            trace=trace,
        )
        try:
            return await run.run()
        finally:
            current.append(run.begun)

    async def _end(
        self, request: VerifiedRequest, begun: Begin | LostOutcome, status: JobStatus | None
    ) -> None:
        await self._ledger.finish(begun, status)
        if status is not None:
            self._board.forget(request.job)
            self._parts.metrics.jobs.labels(request.task, status.value).inc()
            log.info("job.ended", task=request.task, status=status.value, attempt=begun.attempt)

    async def _lost(
        self, request: VerifiedRequest, lost: LostOutcome, trace: TraceContext
    ) -> JobStatus:
        error = JobError(
            type="server_error",
            code="unknown_outcome",
            message="a worker died in the middle of the call, and the job may be charged at most "
            "once; look at the provider's log, then submit it again if it is worth a second charge",
        )
        await self._parts.emitter(request, lost.attempt, trace).unknown_outcome(error)
        return JobStatus.UNKNOWN_OUTCOME

    async def _refuse_sender(self, sender: Sender, error: Rejected) -> None:
        """Tell whoever waits for the job why it will never run; no attempt was ever begun."""
        envelope = sender.envelope
        trace = child_of(envelope.traceparent, envelope.tracestate)
        await self._parts.emitter(sender, 1, trace).failed(_refusal(error))

    async def _fail(self, request: VerifiedRequest, delivery: Delivery, error: JobError) -> None:
        """End the job without a call, under the next attempt number: it may have run before."""
        begun = await self._ledger.begin(request, delivery)
        if isinstance(begun, AlreadyOver | Moved):
            return
        trace = child_of(request.envelope.traceparent, request.envelope.tracestate)
        await self._parts.emitter(request, begun.attempt, trace).failed(error)
        await self._end(request, begun, JobStatus.FAILED)

    async def _give_up(
        self, request: VerifiedRequest, delivery: Delivery, error: Exception
    ) -> Outcome:
        job_error = JobError(
            type="server_error",
            code="internal_error",
            message="the worker failed in a way that nobody foresaw; the operator finds the record "
            "in ai.dead.v1 and the cause in the worker's log",
        )
        await self._fail(request, delivery, job_error)
        return Dead(DeadReason.FAILURE, "internal_error", type(error).__name__)


def _refusal(error: Rejected) -> JobError:
    return JobError(
        type="invalid_request_error",
        code=error.code,
        message=f"{error}; correct it and submit the job again",
        param=error.field,
    )
