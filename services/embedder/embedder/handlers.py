"""What the embedder does with a job: the rest of the handler is the kit's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from penstock_contracts.dead import DeadReason
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import JobError, Output, Usage
from penstock_kit.errors import Busy, Fatal, Rejected, Retryable
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.cancelling import JobCancelled
from penstock_kit.jobs.job_delivery import refusal
from penstock_kit.jobs.under_way import DeadlinePassed, Ended, Ending, JobUnderWay
from penstock_kit.lanes.outcomes import Dead

from embedder.billing import Bill, Prices
from embedder.embed import Tasks
from embedder.errors import ModelAway
from embedder.inputs import Input, InputReader
from embedder.ports import ModelSpec

__all__ = ["EmbedderWork"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderWork:
    """Implements the kit's `Work`: one attempt per delivery.

    `random` gives 0 to 1, for the pauses between attempts.
    """

    inputs: InputReader
    tasks: Tasks
    prices: Prices
    spec: ModelSpec
    random: Callable[[], float]

    async def prepare(self, request: VerifiedRequest) -> Input:
        """The input of a job; see the port."""
        return await self.inputs.read(request)

    def used(self, plan: Mapping[str, Any]) -> Usage:
        """What earlier deliveries used; see the port."""
        return Bill(self.prices, plan.get("bill")).usage()

    async def run(self, job: JobUnderWay, asked: Input) -> Ending:
        """Embed, store or search; see the port."""
        bill = Bill(self.prices, job.plan.get("bill"))
        timeout = job.request.task_type.timeout
        await job.start(
            model=self.spec.name, provider=self.spec.provider, timeout=timeout, reason="retry"
        )
        try:
            job.about_to_pay()
            output = await job.run(self._work(job, asked, bill, timeout))
            await job.insist(
                lambda: job.emitter.completed(
                    output,
                    usage=bill.usage(),
                    model=self.spec.name,
                    provider=self.spec.provider,
                )
            )
        except JobCancelled as cancel:
            return await job.cancelled(cancel.by, usage=bill.usage())
        except DeadlinePassed:
            return await job.expired()
        except Rejected as error:
            return await job.fail(refusal(error), usage=bill.usage())
        except (Fatal, Busy):
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks a job is told to its owner
            return await self._after(_failure(error, timeout), job, bill)
        return Ended(JobStatus.COMPLETED)

    async def _work(self, job: JobUnderWay, asked: Input, bill: Bill, timeout: timedelta) -> Output:
        async with asyncio.timeout(timeout.total_seconds()):
            return await self.tasks.run(job.request.scope, asked, bill)

    async def _after(self, failure: _Failure, job: JobUnderWay, bill: Bill) -> Ending:
        policy = job.request.task_type.retry
        failures = int(job.plan.get("failures", 0)) + 1
        is_paid_once = job.is_charged_once and self.spec.provider != "local"
        error, usage = failure.error, bill.usage()
        if failures >= policy.attempts or is_paid_once:
            code = error.code or "failed"
            dead = Dead(DeadReason.FAILURE, code, error.message, job.begun.attempt, failure.answer)
            return await job.fail(error, usage=usage, dead=dead)
        pause = policy.backoff.pause(failures, random=self.random, asked_s=failure.retry_after_s)
        plan = {"failures": failures, "bill": bill.state}
        return await job.retry(error, pause, plan=plan, usage=usage)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An attempt failed in a way that another one may mend."""

    error: JobError
    retry_after_s: float | None = None
    answer: str = ""


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
        answer = error.answer if isinstance(error, ModelAway) else ""
        return _Failure(described, error.retry_after_s, answer)
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
