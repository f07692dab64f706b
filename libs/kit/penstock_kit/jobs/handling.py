"""The lanes' handler of a worker: verifies a record, then hands it to its delivery."""

from __future__ import annotations

from typing import Generic, TypeVar

from penstock_contracts.events import JobStatus

from penstock_kit.errors import Busy, Retryable
from penstock_kit.intake import RejectedJob
from penstock_kit.jobs.attempts import Begin, LostOutcome
from penstock_kit.jobs.job_delivery import JobDelivery, refusal
from penstock_kit.jobs.retry_state import RetryState
from penstock_kit.jobs.work import HandlerParts, Work
from penstock_kit.lanes.outcomes import Delivery, Outcome
from penstock_kit.telemetry.logs import job_context
from penstock_kit.telemetry.tracing import child_of

__all__ = ["JobHandler"]

Asked = TypeVar("Asked")


class JobHandler(Generic[Asked]):
    """The lanes' handler. The record passes only after the job's last event is acknowledged.

    What is wrong with a record of a verified tenant becomes a `failed` event as well as a dead
    letter.
    """

    def __init__(self, work: Work[Asked], parts: HandlerParts) -> None:
        self._work = work
        self._parts = parts

    async def __call__(self, delivery: Delivery) -> Outcome:
        """Handle a record.

        Raises:
            Rejected: the record belongs into the dead letters.
            Busy: Kafka, Redis or the blob store is away; keep the record.
        """
        try:
            return await self._verified(delivery)
        except Retryable as error:
            # The lanes count these and give up; what is merely away is waited for.
            raise Busy(str(error), retry_after_s=error.retry_after_s or 1.0) from error

    async def _verified(self, delivery: Delivery) -> Outcome:
        try:
            request = self._parts.intake.verify(delivery.record, topic=delivery.source or None)
        except RejectedJob as error:
            await self._refuse_sender(error, delivery)
            raise
        trace = child_of(request.envelope.traceparent, request.envelope.tracestate)
        with job_context(tenant=request.tenant, job=request.job, trace_id=trace.trace_id):
            return await JobDelivery(self._work, self._parts, request, delivery, trace).handle()

    async def _refuse_sender(self, error: RejectedJob, delivery: Delivery) -> None:
        """Tell whoever waits for the job why it will never run, under the next attempt number.

        It may have run before: under another configuration, or by another of its records.
        """
        sender, ledger = error.sender, self._parts.ledger
        made = RetryState.read(delivery.state).attempt
        begun = await ledger.begin(sender, delivery, made=made, even_early=True)
        if isinstance(begun, Begin | LostOutcome):
            trace = child_of(sender.envelope.traceparent, sender.envelope.tracestate)
            ended: JobStatus | None = None
            try:
                await self._parts.emitter(sender, begun.attempt, trace).failed(refusal(error))
                ended = JobStatus.FAILED
            finally:
                await ledger.finish(begun, ended)
