"""The composition root: every adapter of the process is made here, and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from uuid import uuid4

from penstock_contracts.ids import JobIds
from penstock_contracts.topics import CONVERSATIONS, EVENTS
from penstock_kit.auth.api_keys import ApiKeys
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.auth.table import CredentialTable
from penstock_kit.blobs.store import BlobStore
from penstock_kit.clock import Clock, SystemClock
from penstock_kit.control import ControlBoard
from penstock_kit.errors import Fatal
from penstock_kit.intake import Intake
from penstock_kit.jobs.attempts import Attempts
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.ends import KafkaEnds
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.policy import REVOKE_DEADLINE, LanePolicy
from penstock_kit.lanes.retry_topics import RetryTopics
from penstock_kit.lifecycle import Part, Service
from penstock_kit.redis_client import connect_redis
from penstock_kit.rule_book import RuleBook
from penstock_kit.tail.table import TopicTable
from penstock_kit.tasks import load_tasks
from penstock_kit.telemetry.health import AdminServer, Health
from penstock_kit.telemetry.metrics import Metrics, process_registry
from penstock_kit.telemetry.redaction import Redactor

from llm_worker import VERSION
from llm_worker.conversation_log import ConversationLog
from llm_worker.openai_provider import OpenAIProvider
from llm_worker.pricing import load_prices
from llm_worker.providers_file import Providers, load_providers
from llm_worker.settings import FINISH_MARGIN, LlmWorkerSettings
from llm_worker.templates import load_templates
from llm_worker.worker import Surroundings, Worker, build_worker

__all__ = ["build_service"]

NAME = "llm-worker"


async def build_service(settings: LlmWorkerSettings) -> Service:
    """A whole llm-worker process, not started.

    Raises:
        Fatal: the configuration cannot work; the sentence tells what to change.
    """
    service: Service | None = None

    def fail(error: Fatal) -> None:
        assert service is not None
        service.fail(error)

    catalog = load_providers(settings.providers_file)
    clock = SystemClock()
    metrics = Metrics(process_registry(NAME, version=VERSION))
    health = Health(NAME)
    redis = connect_redis(settings.redis, name=NAME)
    producer = KafkaProducer(settings.kafka, client_id=f"penstock-{NAME}", on_fatal=fail)
    producers = ProducerKeys(settings.auth.id_secret.get_secret_value().encode())
    credentials = _credentials(settings, producers, clock)
    tasks = load_tasks(settings.tasks_file)
    rules = RuleBook(
        clock, default_model=lambda task: tasks.first_model(task) or catalog.default_model
    )
    board = ControlBoard(settings.kafka, producer, rules=rules)
    # Unique per start: a lease must never look like that of the process that died here before.
    attempts = Attempts(
        redis,
        KafkaEnds(settings.kafka, EVENTS.name),
        instance=f"{settings.instance}-{uuid4().hex[:8]}",
        lease=settings.redis.lease,
    )
    conversations = ConversationLog(
        producer=producer,
        redis=redis,
        reader=lambda on_record: TopicTable(settings.kafka, CONVERSATIONS.name, on_record),
        ttl_s=int(settings.llm_worker.conversation_ttl.total_seconds()),
    )
    providers = {name: OpenAIProvider(name, entry) for name, entry in catalog.providers.items()}
    around = Surroundings(
        consumer=GroupConsumer(settings.kafka, settings.llm_worker.group, client_id=NAME),
        producer=producer,
        blobs=BlobStore(settings.blobs),
        board=board,
        ledger=attempts,
        intake=Intake(
            tasks=tasks,
            ids=JobIds(settings.auth.id_secret.get_secret_value().encode()),
            secrets=producers if settings.auth.verify_producers else None,
        ),
        conversations=conversations,
        providers=providers,
        catalog=catalog,
        prices=await load_prices(_prices(catalog)),
        templates=load_templates(settings.llm_worker.templates_dir),
        tasks=tasks,
        clock=clock,
        metrics=metrics,
        instance=settings.instance,
        rules=rules,
        redactor=_redactor(settings, catalog),
        retries=RetryTopics.standard(),
    )
    worker = build_worker(around, settings.llm_worker, _policy(settings), on_fatal=fail)
    _check(health, worker, board, credentials)
    parts: list[Part] = [
        AdminServer(settings.admin, health, metrics.registry),
        _Closing([redis.aclose]),
        # Stopped when no call can run any more: what outlived the drain is another's then.
        attempts,
        _Closing([provider.close for provider in providers.values()]),
        producer,
        *credentials,
        board,
        _Closing([conversations.stop]),
        worker.withdrawals,
        worker.lanes,
        _Started(health),
    ]

    def on_drain() -> None:
        health.set_draining()
        worker.drain()

    service = Service(NAME, parts, drain_timeout=settings.drain_timeout, on_drain=on_drain)
    return service


def _policy(settings: LlmWorkerSettings) -> LanePolicy:
    return LanePolicy(
        max_in_flight=settings.llm_worker.max_in_flight,
        tenant_in_flight=settings.llm_worker.tenant_in_flight,
        session=settings.kafka.session_timeout,
        revoke_deadline=min(REVOKE_DEADLINE, settings.kafka.session_timeout / 2),
        dead_per_minute=settings.llm_worker.dead_per_minute,
        drain_timeout=settings.drain_timeout - FINISH_MARGIN,
    )


def _redactor(settings: LlmWorkerSettings, catalog: Providers) -> Redactor:
    """Knows every secret of this process: providers may quote our keys in what they say."""
    keys = [settings.auth.id_secret, *(entry.api_key for entry in catalog.providers.values())]
    return Redactor(key.get_secret_value() for key in keys if key is not None)


def _prices(catalog: Providers) -> Iterable[str]:
    return [model.price for model in catalog.models.values() if model.price is not None]


def _credentials(
    settings: LlmWorkerSettings, producers: ProducerKeys, clock: Clock
) -> list[CredentialTable]:
    """Who may sign requests; nobody has to while signatures are switched off."""
    if not settings.auth.verify_producers:
        return []
    return [CredentialTable(settings.kafka, keys=ApiKeys(clock), producers=producers)]


def _check(
    health: Health, worker: Worker, board: ControlBoard, credentials: list[CredentialTable]
) -> None:
    health.check_readiness("lanes", worker.lanes.problem)
    health.check_readiness("control", board.table.check)
    for table in credentials:
        health.check_readiness("credentials", table.table.check)


class _Closing:
    def __init__(self, closings: list[Callable[[], Awaitable[None]]]) -> None:
        self._closings = closings

    async def start(self) -> None:
        """Nothing: what it closes connects by itself."""

    async def stop(self) -> None:
        """Close everything."""
        for close in self._closings:
            await close()


class _Started:
    def __init__(self, health: Health) -> None:
        self._health = health

    async def start(self) -> None:
        """The last part: let readiness be answered by the checks."""
        self._health.set_started()

    async def stop(self) -> None:
        """Nothing."""
