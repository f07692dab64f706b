"""What a worker must give so that the kit can handle its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from penstock_contracts.events import JobStatus
from penstock_contracts.parts import Usage

from penstock_kit.clock import Clock
from penstock_kit.intake import Intake, Sender, VerifiedRequest
from penstock_kit.jobs.attempts import Begin, LostOutcome, Verdict
from penstock_kit.jobs.cancelling import CancelBoard, RunningJobs
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.jobs.under_way import AttemptLedger, Ending, JobUnderWay
from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.telemetry.tracing import TraceContext

__all__ = ["HandlerParts", "JobLedger", "Work"]

Asked = TypeVar("Asked")


class JobLedger(AttemptLedger, Protocol):
    """The kit's `Attempts`, as far as a handler needs it."""

    async def begin(
        self,
        request: VerifiedRequest | Sender,
        delivery: Delivery,
        *,
        made: int = 0,
        even_early: bool = False,
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


class Work(Protocol[Asked]):
    """What a worker does with its jobs."""

    async def prepare(self, request: VerifiedRequest) -> Asked:
        """Read and check what is asked for.

        Raises:
            Rejected: the input can never be run.
            Retryable: where it lies is away.
        """
        ...

    def used(self, plan: Mapping[str, Any]) -> Usage:
        """What the deliveries before have used, by the plan that they left."""
        ...

    async def run(self, job: JobUnderWay, asked: Asked) -> Ending:
        """Run the job until it ends or pauses; every event of it is acknowledged then.

        Raises:
            Retryable, Busy: Kafka or Redis is away; the record is kept.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerParts:
    """What every job is handled with.

    Attributes:
        emitter: makes the voice of an attempt.
        random: 0 to 1, for pauses.
        on_ended: told of each job that ended here, with its task and status.
    """

    intake: Intake
    ledger: JobLedger
    board: CancelBoard
    running: RunningJobs
    emitter: Callable[[VerifiedRequest | Sender, int, TraceContext], JobEmitter]
    clock: Clock
    worker: str
    random: Callable[[], float]
    on_ended: Callable[[VerifiedRequest, JobStatus], None]
