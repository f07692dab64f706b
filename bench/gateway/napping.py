"""A worker of one's own on the kit, as a team would write it: its jobs sleep for 50 ms.

`python -m bench.gateway.napping` with the environment that every service gets; runs the tasks of
group `nap`. All of the kit is in it: attempts, leases, retries, cancelling, events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any
from uuid import uuid4

from penstock_contracts.events import JobStatus
from penstock_contracts.ids import JobIds
from penstock_contracts.parts import GenerateOutput, Usage
from penstock_contracts.requests import Priority
from penstock_contracts.topics import EVENTS, request_topic
from penstock_kit.blobs.store import BlobStore
from penstock_kit.clock import SystemClock
from penstock_kit.control import ControlBoard
from penstock_kit.errors import Fatal
from penstock_kit.intake import Intake, Sender, VerifiedRequest, reply_of, surface_of
from penstock_kit.jobs.attempts import Attempts
from penstock_kit.jobs.cancelling import RunningJobs
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.jobs.handling import JobHandler
from penstock_kit.jobs.under_way import Ended, Ending, JobUnderWay
from penstock_kit.jobs.withdrawing import Withdrawals, called_back
from penstock_kit.jobs.work import HandlerParts
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.ends import KafkaEnds
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.retry_topics import RetryTopics
from penstock_kit.lifecycle import Service, run_service
from penstock_kit.redis_client import connect_redis
from penstock_kit.rule_book import RuleBook, needs_no_order, tenant_of
from penstock_kit.settings import PlatformSettings, load_settings
from penstock_kit.tasks import TaskCatalog, load_tasks
from penstock_kit.telemetry.health import AdminServer, Health
from penstock_kit.telemetry.logs import configure_logs
from penstock_kit.telemetry.metrics import Metrics, process_registry
from penstock_kit.telemetry.tracing import TraceContext

__all__ = ["GROUP", "TASK", "TASKS_FILE"]

GROUP = TASK = "nap"
TASKS_FILE = f"tasks:\n  {TASK}: {{kind: generate, group: {GROUP}}}\n"
_NAP = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class _Napping:
    """Implements the kit's `Work`."""

    async def prepare(self, request: VerifiedRequest) -> str:
        return str(request.request.input["prompt"]) if request.request.input else ""

    def used(self, plan: Mapping[str, Any]) -> Usage:
        del plan
        return Usage()

    async def run(self, job: JobUnderWay, asked: str) -> Ending:
        await job.start(timeout=timedelta(seconds=30), reason="retry")
        await job.running.run(asyncio.sleep(_NAP.total_seconds()))
        output = GenerateOutput(format="text", text=asked)
        await job.insist(lambda: job.emitter.completed(output, usage=Usage()))
        return Ended(JobStatus.COMPLETED)


async def _service() -> Service:
    settings = load_settings(PlatformSettings)
    configure_logs(settings.log, TASK, settings.instance, known_secrets=())
    service: Service | None = None

    def fail(error: Fatal) -> None:
        assert service is not None
        service.fail(error)

    clock, health = SystemClock(), Health(TASK)
    metrics = Metrics(process_registry(TASK, version="1"))
    redis = connect_redis(settings.redis, name=TASK)
    producer = KafkaProducer(settings.kafka, client_id=TASK, on_fatal=fail)
    tasks = load_tasks(settings.tasks_file)
    rules = RuleBook(clock, default_model=tasks.first_model)
    board = ControlBoard(settings.kafka, producer, rules=rules)
    attempts = Attempts(
        redis,
        KafkaEnds(settings.kafka, EVENTS.name),
        instance=f"{TASK}-{uuid4().hex[:8]}",
        lease=settings.redis.lease,
    )
    handler = JobHandler(
        _Napping(), _parts(settings, tasks, attempts, board, producer=producer, clock=clock)
    )
    lanes = Lanes(
        consumer=GroupConsumer(settings.kafka, GROUP, client_id=TASK),
        producer=producer,
        handler=handler,
        topics=[request_topic(tasks.base_topic(TASK), priority) for priority in Priority],
        retries=RetryTopics.standard(),
        is_called_back=called_back(board),
        policy=LanePolicy(max_in_flight=512),
        clock=clock,
        on_fatal=fail,
        name=TASK,
        metrics=metrics,
        tenant_of=tenant_of,
        may_park=needs_no_order,
        rules=rules,
    )
    withdrawals = Withdrawals(lanes, handler)
    board.on_cancel(withdrawals.on_cancel)
    health.check_readiness("lanes", lanes.problem)
    service = Service(
        TASK,
        [
            AdminServer(settings.admin, health, metrics.registry),
            producer,
            board,
            attempts,
            withdrawals,
            lanes,
        ],
        drain_timeout=settings.drain_timeout,
        on_started=health.set_started,
        on_drain=lanes.pause,
    )
    return service


def _parts(
    settings: PlatformSettings,
    tasks: TaskCatalog,
    attempts: Attempts,
    board: ControlBoard,
    *,
    producer: KafkaProducer,
    clock: SystemClock,
) -> HandlerParts:
    blobs = BlobStore(settings.blobs)
    ids = JobIds(settings.auth.id_secret.get_secret_value().encode())

    def emitter(request: VerifiedRequest | Sender, attempt: int, trace: TraceContext) -> JobEmitter:
        return JobEmitter(
            producer=producer,
            blobs=blobs,
            clock=clock,
            job=request.job,
            tenant=request.tenant,
            user=request.user,
            attempt=attempt,
            source="/bench/nap",
            trace=trace,
            surface=surface_of(request),
            reply=reply_of(request),
        )

    return HandlerParts(
        intake=Intake(tasks=tasks, ids=ids, secrets=None),
        ledger=attempts,
        board=board,
        running=RunningJobs(board),
        emitter=emitter,
        clock=clock,
        worker=settings.instance,
        random=Random().random,
        on_ended=lambda _request, _status: None,
    )


if __name__ == "__main__":
    run_service(_service)
