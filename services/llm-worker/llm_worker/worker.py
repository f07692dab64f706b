"""The heart of the process, joined from ports: lanes, handler, cancels. The same in tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from penstock_contracts.events import JobStatus
from penstock_contracts.requests import Priority
from penstock_contracts.topics import request_topic
from penstock_kit.blobs.store import BlobStore
from penstock_kit.clock import Clock
from penstock_kit.control import Cancel
from penstock_kit.errors import Fatal
from penstock_kit.intake import Intake, Sender, VerifiedRequest, reply_of, surface_of
from penstock_kit.jobs.cancelling import CancelBoard, RunningJobs
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.jobs.handling import JobHandler
from penstock_kit.jobs.withdrawing import Withdrawals, called_back
from penstock_kit.jobs.work import HandlerParts, JobLedger
from penstock_kit.kafka.ports import Consumer, Producer
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.retry_topics import RetryTopics
from penstock_kit.lanes.rules import Rules
from penstock_kit.rule_book import needs_no_order, tenant_of
from penstock_kit.tasks import TaskCatalog
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.telemetry.redaction import Redactor
from penstock_kit.telemetry.tracing import TraceContext

from llm_worker.coalescing import CoalescingPolicy, DeltaPace
from llm_worker.handlers import LlmWork
from llm_worker.metrics import LlmMetrics
from llm_worker.ports import Conversations, PriceTable, Provider
from llm_worker.prompts import PromptReader
from llm_worker.providers_file import Providers
from llm_worker.running import RunnerParts
from llm_worker.settings import LlmWorkerGroup
from llm_worker.templates import Templates

__all__ = ["Surroundings", "Worker", "build_worker", "topics_of"]

SOURCE = "/penstock/llm-worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything that a worker talks to."""

    consumer: Consumer
    producer: Producer
    blobs: BlobStore
    board: CancelBoard
    ledger: JobLedger
    intake: Intake
    conversations: Conversations
    providers: Mapping[str, Provider]
    catalog: Providers
    prices: PriceTable
    templates: Templates
    tasks: TaskCatalog
    clock: Clock
    metrics: Metrics
    instance: str
    retries: RetryTopics
    rules: Rules | None = None
    redactor: Redactor | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """What runs: start `lanes`, then `withdrawals`; `drain` first on the way out."""

    lanes: Lanes
    withdrawals: Withdrawals

    def drain(self) -> None:
        """Take nothing new; what waits for its next attempt stays in the log."""
        self.lanes.pause()


def build_worker(
    around: Surroundings,
    own: LlmWorkerGroup,
    policy: LanePolicy,
    *,
    on_fatal: Callable[[Fatal], None],
) -> Worker:
    """Join the parts; nothing starts yet.

    Raises:
        Fatal: the group has no task to run.
    """
    running = RunningJobs(around.board)
    metrics = LlmMetrics(around.metrics)
    prompts = PromptReader(providers=around.catalog, templates=around.templates, blobs=around.blobs)
    handler = JobHandler(
        LlmWork(prompts, _runner_parts(around, own, metrics)),
        _handler_parts(around, running, metrics),
    )
    lanes = Lanes(
        consumer=around.consumer,
        producer=around.producer,
        handler=handler,
        topics=topics_of(around.tasks, own.group),
        retries=around.retries,
        is_called_back=called_back(around.board),
        policy=policy,
        clock=around.clock,
        on_fatal=on_fatal,
        name="llm-worker",
        metrics=around.metrics,
        tenant_of=tenant_of,
        may_park=needs_no_order,
        rules=around.rules,
        redactor=around.redactor,
    )
    withdrawals = Withdrawals(lanes, handler)

    def on_cancel(cancel: Cancel) -> None:
        withdrawals.on_cancel(cancel)

    around.board.on_cancel(on_cancel)
    return Worker(lanes, withdrawals)


def topics_of(tasks: TaskCatalog, group: str) -> list[str]:
    """The request topics of a group, all priorities.

    Raises:
        Fatal: the group has no task.
    """
    bases = {tasks.base_topic(task) for task in tasks.tasks_of_group(group)}
    if not bases:
        raise Fatal(
            f"no task belongs to the group {group!r}; correct PENSTOCK_LLM_WORKER__GROUP or the "
            "tasks file"
        )
    return [request_topic(base, priority) for base in sorted(bases) for priority in Priority]


def _handler_parts(around: Surroundings, running: RunningJobs, metrics: LlmMetrics) -> HandlerParts:
    def emitter(owned: VerifiedRequest | Sender, attempt: int, trace: TraceContext) -> JobEmitter:
        return JobEmitter(
            producer=around.producer,
            blobs=around.blobs,
            clock=around.clock,
            job=owned.job,
            tenant=owned.tenant,
            user=owned.user,
            attempt=attempt,
            source=SOURCE,
            trace=trace,
            surface=surface_of(owned),
            reply=reply_of(owned),
        )

    def on_ended(request: VerifiedRequest, status: JobStatus) -> None:
        metrics.jobs.labels(request.task, status.value).inc()

    return HandlerParts(
        intake=around.intake,
        ledger=around.ledger,
        board=around.board,
        running=running,
        emitter=emitter,
        clock=around.clock,
        worker=around.instance,
        random=Random().random,  # noqa: S311 - jitter
        on_ended=on_ended,
    )


def _runner_parts(around: Surroundings, own: LlmWorkerGroup, metrics: LlmMetrics) -> RunnerParts:
    return RunnerParts(
        providers=around.providers,
        catalog=around.catalog,
        prices=around.prices,
        conversations=around.conversations,
        delta_pace=DeltaPace(
            CoalescingPolicy(
                interval=own.delta_interval,
                longest_interval=own.delta_interval_busy,
                events_per_s=own.deltas_per_second,
                max_tokens=own.delta_tokens,
            )
        ),
        metrics=metrics,
        clock=around.clock,
        kept_messages=own.kept_messages,
        random=Random().random,  # noqa: S311 - jitter
    )
