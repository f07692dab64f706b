"""A job under one delivery: its attempt, its voice, and how the delivery ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, Protocol, TypeVar

import structlog
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import JobError, Usage
from penstock_contracts.requests import Charge

from penstock_kit.clock import Clock
from penstock_kit.errors import PenstockError, Retryable
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.attempts import Begin
from penstock_kit.jobs.cancelling import Interruptible, JobCancelled
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.lanes.outcomes import Dead
from penstock_kit.telemetry.tracing import TraceContext

__all__ = ["Again", "AttemptLedger", "DeadlinePassed", "Ended", "Ending", "JobUnderWay", "Reason"]

log = structlog.get_logger(__name__)

_INSIST: Final = timedelta(seconds=120)
"""Longest wait for Kafka or the blob store to take a result before the job is run again."""
_INSIST_PAUSE_S: Final = 0.5
_CANCEL_AFTER: Final = "cancel_after"
"""`by` of the jobs that end because they were not over by their `ends_by`."""

T = TypeVar("T")

Reason = Literal["retry", "fallback", "repair", "redelivery"]


@dataclass(frozen=True, slots=True)
class Ended:
    """The terminal event is acknowledged; `dead` also shows the record to the operator."""

    status: JobStatus
    dead: Dead | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """`retrying` is acknowledged: the next attempt is another delivery, after a pause.

    `plan` is for `JobUnderWay.plan` of that delivery.
    """

    after: timedelta
    code: str
    detail: str
    plan: Mapping[str, Any] = field(default_factory=dict)


Ending = Ended | Again


class DeadlinePassed(PenstockError):
    """Raised right before a first call that would come too late; nothing was spent."""


class AttemptLedger(Protocol):
    """The part of the kit's `Attempts` that a running job needs."""

    async def confirm(self, request: VerifiedRequest, begun: Begin) -> None:
        """Make sure, before a call is paid, that nobody has taken the job over; else `Busy`."""
        ...

    async def confirm_awake(self, request: VerifiedRequest, begun: Begin) -> None:
        """The same before `started`, where this process may have slept."""
        ...

    async def begin_again(self, begun: Begin, *, had_output: bool) -> Begin:
        """A further attempt within the same delivery."""
        ...

    async def condemn(self, begun: Begin, *, reason: str, code: str) -> None:
        """Note, before the job is ended, that its record gets a dead letter after that."""
        ...


class JobUnderWay:
    """What a worker runs a job with. One paid attempt per delivery, unless the next is for now.

    Attributes:
        begun: the attempt under way; `emitter` is its voice.
        plan: what the delivery before left; empty at first.
        may_have_paid: whether a call may have left in this delivery.
    """

    def __init__(
        self,
        request: VerifiedRequest,
        begun: Begin,
        *,
        running: Interruptible,
        ledger: AttemptLedger,
        make_emitter: Callable[[int], JobEmitter],
        clock: Clock,
        worker: str,
        trace: TraceContext,
        plan: Mapping[str, Any],
    ) -> None:
        self.request = request
        self.begun = begun
        self.running = running
        self.trace = trace
        self.plan = plan
        self.may_have_paid = False
        self._ledger = ledger
        self._make_emitter = make_emitter
        self._clock = clock
        self._worker = worker
        self.emitter = make_emitter(begun.attempt)

    @property
    def is_charged_once(self) -> bool:
        """Whether a call that may have been paid must not be repeated."""
        return self.request.request.charge is Charge.AT_MOST_ONCE

    @property
    def has_shown(self) -> bool:
        """Whether any attempt may have sent output."""
        return self.begun.had_output or self.emitter.has_output

    async def start(
        self,
        *,
        timeout: timedelta,
        reason: Reason,
        model: str | None = None,
        provider: str | None = None,
    ) -> None:
        """Say `started`, and `reset` if output was shown before; then the call may be made.

        Raises:
            Busy: another worker has taken the job over; do not call.
        """
        await self._ledger.confirm_awake(self.request, self.begun)
        await self.emitter.started(
            task=self.request.task,
            worker=self._worker,
            model=model,
            provider=provider,
            until=self._clock.now() + timeout,
            crashes=self.begun.crashes,
        )
        await self._ledger.confirm(self.request, self.begun)
        if self.begun.had_output:
            await self.emitter.reset(reason)

    def check_time(self) -> None:
        """Make sure that the job may still begin, or go on.

        Raises:
            DeadlinePassed: nothing was ever called, and the time to start or to end is over.
            JobCancelled: the time to end is over.
        """
        asked, now = self.request.request, self._clock.now()
        # Only a start is bound to the deadline; a job that had begun before may go on.
        limit = asked.start_by if self._is_unbegun else asked.ends_by
        if limit is not None and now > limit:
            raise self._too_late()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work that a cancel or the end of the job's time cuts off.

        Raises:
            JobCancelled: the work was cut off, or not even begun.
            DeadlinePassed: the same, and nothing was ever called.
        """
        try:
            self.check_time()
        except (DeadlinePassed, JobCancelled):
            work.close()
            raise
        try:
            async with asyncio.timeout(self._left_s()) as limit:
                return await self.running.run(work)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._too_late() from None

    def about_to_pay(self) -> None:
        """Call this at the last moment before a call leaves.

        Raises:
            DeadlinePassed, JobCancelled: it would come too late, as `check_time` says.
        """
        self.check_time()
        self.may_have_paid = True

    async def go_on(self, error: JobError) -> None:
        """The attempt failed and the next follows at once, in this delivery."""
        attempt = self.begun.attempt + 1
        await self.emitter.retrying(error, delay_s=0.0, next_attempt=attempt)
        had_output = self.emitter.has_output
        self.begun = await self._ledger.begin_again(self.begun, had_output=had_output)
        self.emitter = self._make_emitter(self.begun.attempt)

    async def retry(
        self, error: JobError, after: timedelta, *, plan: Mapping[str, Any], usage: Usage
    ) -> Ending:
        """The attempt failed and the next follows after a pause, in another delivery.

        A job that could not go on before its `ends_by` fails now; one that has shown nothing yet
        also where that is its deadline.
        """
        too_late = self._too_late_for(after)
        if too_late is not None:
            told = f"{error.message}; the next try would come after the job's {too_late}"
            return await self.fail(error.model_copy(update={"message": told}), usage=usage)
        attempt = self.begun.attempt + 1
        await self.emitter.retrying(error, delay_s=after.total_seconds(), next_attempt=attempt)
        return Again(after=after, code=error.code or "retry", detail=error.message, plan=plan)

    async def fail(self, error: JobError, *, usage: Usage, dead: Dead | None = None) -> Ended:
        """End the job as failed; its record passes by way of `dead`, if that is given."""
        if dead is not None:
            await self._ledger.condemn(self.begun, reason=dead.reason.value, code=dead.code)
        await self.insist(lambda: self.emitter.failed(error, usage=usage))
        return Ended(JobStatus.FAILED, dead)

    async def cancelled(self, by: str | None, *, usage: Usage) -> Ended:
        """End the job as called back."""
        ran = self.may_have_paid or self.begun.attempt > 1
        await self.insist(lambda: self.emitter.cancelled(by=by, was_running=ran, usage=usage))
        return Ended(JobStatus.CANCELLED)

    async def expired(self) -> Ended:
        """End the job as too late, free of charge."""
        start_by = self.request.request.start_by
        assert start_by is not None, "only what has a limit expires"
        await self.emitter.expired(start_by)
        return Ended(JobStatus.EXPIRED)

    async def insist(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write what was paid for; a broker or store that is away for a while costs no second call.

        A repeated write has the same place in the stream, so readers drop the duplicate.

        Raises:
            Retryable: away for longer than that; the job is run again.
        """
        give_up_at = self._clock.monotonic() + _INSIST.total_seconds()
        while True:
            try:
                return await write()
            except Retryable as error:
                if self._clock.monotonic() >= give_up_at:
                    raise
                log.warning("result.unwritten", job=self.request.job, error=type(error).__name__)
                await asyncio.sleep(_INSIST_PAUSE_S)

    @property
    def _is_unbegun(self) -> bool:
        return self.begun.attempt == 1 and not self.may_have_paid

    def _left_s(self) -> float | None:
        """Seconds until the job has to be over; None: it may take its time."""
        ends_by = self.request.request.ends_by
        return None if ends_by is None else (ends_by - self._clock.now()).total_seconds()

    def _too_late(self) -> DeadlinePassed | JobCancelled:
        """How the job ends, its time being over: free where nothing was called."""
        if self._is_unbegun:
            return DeadlinePassed("the deadline passed while the job waited for its turn")
        return JobCancelled(_CANCEL_AFTER)

    def _too_late_for(self, after: timedelta) -> str | None:
        """The limit that a next try after that would miss."""
        asked, then = self.request.request, self._clock.now() + after
        if asked.ends_by is not None and then > asked.ends_by:
            return "ends_by"
        if asked.deadline is not None and not self.has_shown and then > asked.deadline:
            return "deadline"
        return None
