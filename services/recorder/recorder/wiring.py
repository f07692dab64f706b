"""The composition root: every part of a recorder is made here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from penstock_contracts.ids import JobIds
from penstock_contracts.topics import EVENTS
from penstock_kit.auth.api_keys import ApiKeys
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.auth.table import CredentialTable
from penstock_kit.batches.fold import BATCH_TOPICS, BatchFold
from penstock_kit.clock import Clock, SystemClock
from penstock_kit.errors import Fatal
from penstock_kit.intake import Intake
from penstock_kit.jobs.coverage import FoldMarks
from penstock_kit.jobs.epoch import TableEpoch
from penstock_kit.jobs.expiry import JobExpiry
from penstock_kit.jobs.fold import JobFold
from penstock_kit.jobs.publishing import StatePublisher
from penstock_kit.jobs.reading import JobRecords
from penstock_kit.jobs.rebuild import Rebuild
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.factory import Pace
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.kafka.scan import KafkaScan
from penstock_kit.lifecycle import Part, Service
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.tasks import load_tasks
from penstock_kit.telemetry.health import AdminServer, Health
from penstock_kit.telemetry.metrics import Metrics, process_registry

from recorder import VERSION
from recorder.folding import Folding, note_skips
from recorder.keeper import TableKeeper
from recorder.metrics import RecorderMetrics
from recorder.pump import Pump
from recorder.settings import RecorderSettings
from recorder.state_rounds import StateRounds

__all__ = ["build_service"]


class _Core:
    """What the pump and the keeper share."""

    def __init__(self, settings: RecorderSettings, fail: Callable[[Fatal], None]) -> None:
        self.clock = SystemClock()
        self.registry = Metrics(process_registry("recorder", version=VERSION))
        self.metrics = RecorderMetrics(self.registry)
        self.fail = fail
        self.redis = connect_redis(settings.redis, name="recorder")
        self.producer = KafkaProducer(
            settings.kafka, client_id="recorder", pace=Pace.BATCH, on_fatal=fail
        )
        secret = settings.auth.id_secret.get_secret_value().encode()
        self.producers = ProducerKeys(secret)
        self.request_topics = load_tasks(settings.tasks_file).request_topics()
        self.records = build_records(settings, self.producers, self.metrics, self.clock)
        self.fold = JobFold(self.redis, settings.recorder.policy)
        self.batches = BatchFold(self.redis, on_skip=note_skips(self.metrics))
        self.marks = FoldMarks(self.redis)
        self.publisher = StatePublisher(self.producer, self.fold, self.clock)


def build_service(settings: RecorderSettings) -> Service:
    """A whole recorder process, not started."""
    service: Service | None = None

    def fail(error: Fatal) -> None:
        assert service is not None
        service.fail(error)

    core = _Core(settings, fail)
    folding = _folding(core)
    pump = _pump(settings, core, folding)
    keeper = _keeper(settings, core)
    credentials = _credentials(settings, core.producers, core.clock)
    health = Health("recorder")
    health.check_readiness("redis", lambda: folding.trouble)
    health.check_readiness("table", lambda: keeper.trouble)
    health.check_readiness("kafka", lambda: pump.trouble)
    for table in credentials:
        health.check_readiness("credentials", table.table.check)
    parts: list[Part] = [
        AdminServer(settings.admin, health, core.registry.registry),
        _ClosingRedis(core.redis),
        core.producer,
        *credentials,
        pump,
        keeper,
        _Started(health),
    ]
    service = Service(
        "recorder", parts, drain_timeout=settings.drain_timeout, on_drain=health.set_draining
    )
    return service


def _folding(core: _Core) -> Folding:
    return Folding(
        records=core.records,
        fold=core.fold,
        batches=core.batches,
        marks=core.marks,
        rounds=StateRounds(core.publisher, metrics=core.metrics, on_fatal=core.fail),
        metrics=core.metrics,
        clock=core.clock,
    )


def _pump(settings: RecorderSettings, core: _Core, folding: Folding) -> Pump:
    return Pump(
        lambda: GroupConsumer(
            settings.kafka, settings.recorder.group, client_id="recorder", pace=Pace.BATCH
        ),
        topics=[*core.request_topics, EVENTS.name, *BATCH_TOPICS],
        take=folding.take,
        clock=core.clock,
        on_fatal=core.fail,
    )


def _keeper(settings: RecorderSettings, core: _Core) -> TableKeeper:
    epoch = TableEpoch(core.redis)
    rebuild = Rebuild(
        scan=KafkaScan(settings.kafka),
        records=core.records,
        fold=core.fold,
        batches=core.batches,
        publisher=core.publisher,
        epoch=epoch,
        marks=core.marks,
        clock=core.clock,
        request_topics=core.request_topics,
    )
    return TableKeeper(
        epoch=epoch,
        rebuild=rebuild,
        expiry=JobExpiry(core.redis, ttl=settings.recorder.job_ttl, clock=core.clock),
        metrics=core.metrics,
        owner=str(uuid4()),
        watch_interval=settings.recorder.watch_interval,
        sweep_interval=settings.recorder.sweep_interval,
    )


def build_records(
    settings: RecorderSettings, producers: ProducerKeys, metrics: RecorderMetrics, clock: Clock
) -> JobRecords:
    """What turns records into patches, under the deployment's secrets and tasks."""
    ids = JobIds(settings.auth.id_secret.get_secret_value().encode())
    intake = Intake(
        tasks=load_tasks(settings.tasks_file),
        ids=ids,
        secrets=producers if settings.auth.verify_producers else None,
    )
    return JobRecords(
        intake=intake,
        ids=ids,
        policy=settings.recorder.policy,
        clock=clock,
        on_skip=note_skips(metrics),
    )


def _credentials(
    settings: RecorderSettings, producers: ProducerKeys, clock: Clock
) -> list[CredentialTable]:
    """Who may sign requests; nobody has to while signatures are switched off."""
    if not settings.auth.verify_producers:
        return []
    return [CredentialTable(settings.kafka, keys=ApiKeys(clock), producers=producers)]


class _ClosingRedis:
    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def start(self) -> None:
        """Nothing: Redis may be away when we start."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class _Started:
    """The last part: everything before it has started."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def start(self) -> None:
        """Let readiness be answered by the checks."""
        self._health.set_started()

    async def stop(self) -> None:
        """Nothing."""
