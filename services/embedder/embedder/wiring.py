"""The composition root: every adapter of the process is made here, and nowhere else."""

from __future__ import annotations

from functools import partial
from random import Random
from uuid import uuid4

from penstock_contracts.events import JobStatus
from penstock_contracts.ids import JobIds
from penstock_contracts.requests import Priority
from penstock_contracts.topics import EVENTS, request_topic
from penstock_kit.auth.api_keys import ApiKeys
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.auth.table import CredentialTable
from penstock_kit.blobs.store import BlobStore
from penstock_kit.clock import SystemClock
from penstock_kit.control import ControlBoard
from penstock_kit.errors import Fatal
from penstock_kit.intake import Intake, Sender, VerifiedRequest, reply_of, surface_of
from penstock_kit.jobs.attempts import Attempts
from penstock_kit.jobs.cancelling import RunningJobs
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.jobs.handling import JobHandler
from penstock_kit.jobs.withdrawing import Withdrawals, called_back
from penstock_kit.jobs.work import HandlerParts
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.ends import KafkaEnds
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.policy import REVOKE_DEADLINE, LanePolicy
from penstock_kit.lanes.retry_topics import RetryTopics
from penstock_kit.lifecycle import Part, Service
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.rule_book import RuleBook, needs_no_order, tenant_of
from penstock_kit.tasks import TaskCatalog, load_tasks
from penstock_kit.telemetry.health import AdminServer, Health
from penstock_kit.telemetry.metrics import Metrics as MetricsMaker
from penstock_kit.telemetry.metrics import process_registry
from penstock_kit.telemetry.redaction import Redactor
from penstock_kit.telemetry.tracing import TraceContext

from embedder.batching import Batcher
from embedder.embed import Tasks
from embedder.handlers import EmbedderWork
from embedder.inputs import InputReader
from embedder.local_model import LocalModel
from embedder.metrics import Metrics
from embedder.openai_model import OpenAIModel
from embedder.ports import EmbeddingModel, VectorStore
from embedder.pricing import load_price
from embedder.qdrant_clients import connect_local, connect_server
from embedder.qdrant_store import QdrantStore
from embedder.settings import (
    FINISH_MARGIN,
    EmbedderGroup,
    EmbedderSettings,
    ModelSettings,
    local_spec,
    remote_spec,
)

__all__ = ["build_model", "build_service", "build_store"]

NAME = "embedder"
VERSION = "0.1.0"
SOURCE = "/penstock/embedder"


async def build_service(settings: EmbedderSettings) -> Service:
    """A whole embedder process, not started.

    Raises:
        Fatal: the configuration cannot work; the sentence tells what to change.
    """
    service: Service | None = None

    def fail(error: Fatal) -> None:
        assert service is not None
        service.fail(error)

    clock = SystemClock()
    metrics = MetricsMaker(process_registry(NAME, version=VERSION))
    health = Health(NAME)
    redis = connect_redis(settings.redis, name=NAME)
    producer = KafkaProducer(settings.kafka, client_id=f"penstock-{NAME}", on_fatal=fail)
    keys = ProducerKeys(settings.auth.id_secret.get_secret_value().encode())
    credentials = CredentialTable(settings.kafka, keys=ApiKeys(clock), producers=keys)
    tasks = load_tasks(settings.tasks_file)
    rules = RuleBook(clock, default_model=tasks.first_model)
    board = ControlBoard(settings.kafka, producer, rules=rules)
    # Unique per start: a lease must never look like that of the process that died here before.
    attempts = Attempts(
        redis,
        KafkaEnds(settings.kafka, EVENTS.name),
        instance=f"{settings.instance}-{uuid4().hex[:8]}",
        lease=settings.redis.lease,
    )
    model, store = build_model(settings.embedder.model), build_store(settings.embedder)
    own_metrics = Metrics(metrics)
    batcher = Batcher(
        model, policy=settings.embedder.batch.policy(), clock=clock, metrics=own_metrics
    )
    running = RunningJobs(board)
    blobs = BlobStore(settings.blobs)
    is_priced = settings.embedder.model.kind == "openai"
    work = EmbedderWork(
        inputs=InputReader(blobs=blobs, model=model.spec.name),
        tasks=Tasks(model=model, batcher=batcher, store=store, metrics=own_metrics),
        prices=await load_price(settings.embedder.model.price if is_priced else None),
        spec=model.spec,
        random=Random().random,  # noqa: S311 - jitter
    )
    handler = JobHandler(
        work,
        _handler_parts(
            settings,
            intake=Intake(
                tasks=tasks,
                ids=JobIds(settings.auth.id_secret.get_secret_value().encode()),
                secrets=keys if settings.auth.verify_producers else None,
            ),
            ledger=attempts,
            board=board,
            running=running,
            producer=producer,
            blobs=blobs,
            metrics=own_metrics,
            clock=clock,
        ),
    )
    lanes = Lanes(
        consumer=GroupConsumer(settings.kafka, settings.embedder.group, client_id=NAME),
        producer=producer,
        handler=handler,
        topics=topics_of(tasks, settings.embedder.group),
        retries=RetryTopics.standard(),
        is_called_back=called_back(board),
        policy=LanePolicy(
            max_in_flight=settings.embedder.max_in_flight,
            tenant_in_flight=settings.embedder.tenant_in_flight,
            session=settings.kafka.session_timeout,
            revoke_deadline=min(REVOKE_DEADLINE, settings.kafka.session_timeout / 2),
            dead_per_minute=settings.embedder.dead_per_minute,
            drain_timeout=settings.drain_timeout - FINISH_MARGIN,
        ),
        clock=clock,
        on_fatal=fail,
        name=NAME,
        metrics=metrics,
        tenant_of=tenant_of,
        may_park=needs_no_order,
        rules=rules,
        redactor=Redactor(settings.known_secrets()),
    )
    withdrawals = Withdrawals(lanes, handler)
    board.on_cancel(withdrawals.on_cancel)
    health.check_readiness("lanes", lanes.problem)
    health.check_readiness("control", board.table.check)
    signed: list[Part] = [credentials] if settings.auth.verify_producers else []
    if signed:
        health.check_readiness("credentials", credentials.table.check)

    def on_drain() -> None:
        health.set_draining()
        lanes.pause()

    service = Service(
        NAME,
        [
            AdminServer(settings.admin, health, metrics.registry),
            _RedisEnd(redis),
            # Stopped when no call can run any more: what outlived the drain is another's then.
            attempts,
            producer,
            *signed,
            board,
            store,
            model,
            batcher,
            withdrawals,
            lanes,
        ],
        drain_timeout=settings.drain_timeout,
        on_started=health.set_started,
        on_drain=on_drain,
    )
    return service


def _handler_parts(
    settings: EmbedderSettings,
    *,
    intake: Intake,
    ledger: Attempts,
    board: ControlBoard,
    running: RunningJobs,
    producer: KafkaProducer,
    blobs: BlobStore,
    metrics: Metrics,
    clock: SystemClock,
) -> HandlerParts:
    def emitter(request: VerifiedRequest | Sender, attempt: int, trace: TraceContext) -> JobEmitter:
        return JobEmitter(
            producer=producer,
            blobs=blobs,
            clock=clock,
            job=request.job,
            tenant=request.tenant,
            user=request.user,
            attempt=attempt,
            source=SOURCE,
            trace=trace,
            surface=surface_of(request),
            reply=reply_of(request),
        )

    def on_ended(request: VerifiedRequest, status: JobStatus) -> None:
        metrics.jobs.labels(request.kind.value, status.value).inc()

    return HandlerParts(
        intake=intake,
        ledger=ledger,
        board=board,
        running=running,
        emitter=emitter,
        clock=clock,
        worker=settings.instance,
        random=Random().random,  # noqa: S311 - jitter
        on_ended=on_ended,
    )


def build_model(own: ModelSettings) -> EmbeddingModel:
    """The model of the settings, not started."""
    if own.kind == "local":
        return LocalModel(
            local_spec(own),
            threads=own.threads,
            model_path=own.path,
            tokenizer_path=own.tokenizer_path,
        )
    key = own.api_key.get_secret_value() if own.api_key is not None else None
    return OpenAIModel(remote_spec(own), base_url=own.base_url, api_key=key, timeout=own.timeout)


def build_store(own: EmbedderGroup) -> VectorStore:
    """The store of the settings, not started."""
    if own.qdrant_path is not None:
        connect = partial(connect_local, own.qdrant_path)
        return QdrantStore(connect, threads=1, has_indexes=False)
    assert own.qdrant_url is not None, "the settings demand one of the two"
    key = own.qdrant_api_key.get_secret_value() if own.qdrant_api_key is not None else None
    connect = partial(
        connect_server,
        own.qdrant_url,
        api_key=key,
        timeout=own.qdrant_timeout,
        grpc_port=own.qdrant_grpc_port,
    )
    return QdrantStore(connect, threads=own.qdrant_threads, has_indexes=True)


def topics_of(tasks: TaskCatalog, group: str) -> list[str]:
    """The request topics of a group, all priorities.

    Raises:
        Fatal: the group has no task to run.
    """
    bases = {tasks.base_topic(task) for task in tasks.tasks_of_group(group)}
    if not bases:
        raise Fatal(
            f"no task belongs to the consumer group {group!r}; correct PENSTOCK_EMBEDDER__GROUP, "
            "or give a task that group in the tasks file"
        )
    return [request_topic(base, priority) for base in sorted(bases) for priority in Priority]


class _RedisEnd:
    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def start(self) -> None:
        """Nothing: the client connects by itself."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
