"""The composition root: every part of a gateway is made here, and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random, SystemRandom
from uuid import uuid4

from penstock_contracts.ids import JobIds
from penstock_kit.auth.api_keys import ApiKeys
from penstock_kit.auth.bearer import BearerAuthenticator
from penstock_kit.auth.jwt_tokens import JwtTokens
from penstock_kit.auth.producers import GATEWAY_PRODUCER, ProducerKeys, producer_secret
from penstock_kit.auth.table import CredentialTable
from penstock_kit.auth.tickets import TICKET_LIFETIME, Tickets
from penstock_kit.batches.events import RedisBatchEvents
from penstock_kit.batches.lease import BatchLeases
from penstock_kit.batches.shelf import RedisShelf
from penstock_kit.blobs.files import FileStore
from penstock_kit.blobs.store import BlobStore
from penstock_kit.clock import Clock, SystemClock
from penstock_kit.control import ControlBoard
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.jobs.view import JobTable
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.ports import Producer
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lifecycle import Part, Service
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.serving import HttpServer, socket_protocol
from penstock_kit.streams.joining import JobStreams
from penstock_kit.tail.events import EventTail
from penstock_kit.tasks import TaskCatalog, load_tasks
from penstock_kit.telemetry.health import AdminServer, Health
from penstock_kit.telemetry.metrics import Metrics, process_registry
from penstock_kit.webhooks.endpoints import WebhookEndpoints
from penstock_kit.webhooks.table import WebhookTable

from gateway.admission.bodies import BodyBudget
from gateway.admission.redis_store import RedisAdmissions
from gateway.admission.rules import LimitBook, load_limits
from gateway.admission.store import AdmissionStore
from gateway.admission.wiring import AdmissionDesk
from gateway.app import create_app
from gateway.cancel import Canceller
from gateway.checking import JobChecker
from gateway.draining import DrainFirst
from gateway.following import EventWatcher
from gateway.frame import Frame
from gateway.metrics import GatewayMetrics
from gateway.model_names import known_models
from gateway.openai.batches.handler import BatchHandler
from gateway.openai.batches.wiring import (
    BATCHES_GROUP,
    BatchRunning,
    build_batches,
    build_handler,
    build_lanes,
)
from gateway.openai.chat.endpoints import build_chat
from gateway.openai.completions.endpoints import build_completions
from gateway.openai.conversations.ports import ConversationView
from gateway.openai.conversations.redis_view import RedisConversations
from gateway.openai.conversations.wiring import build_conversation_desk, build_conversations
from gateway.openai.embeddings.endpoints import build_embeddings
from gateway.openai.files.stores import BatchStores
from gateway.openai.files.wiring import build_file_desk, build_files, build_sweeper
from gateway.openai.models.endpoints import build_models
from gateway.openai.moderations.wiring import build_moderations, build_moderator
from gateway.openai.responses.wiring import build_responses
from gateway.openai.socket.wiring import build_roster, build_socket
from gateway.openai.wiring import NativeParts, build_front_door
from gateway.openapi import VERSION
from gateway.ports import Blobs, Streams, TicketDesk
from gateway.queueing import QueueLines
from gateway.randomness import RandomPool
from gateway.recent import RecentJobs
from gateway.records import RecordWriter, Speaker
from gateway.routes import Endpoints, RouteLimits
from gateway.settings import GatewaySettings
from gateway.status import JobReader
from gateway.stream import EventFollower, FollowLimits
from gateway.submit import Submitter
from gateway.views import JobViews
from gateway.waiting import EndWaiters
from gateway.webhook_endpoints.building import build_webhook_endpoints
from gateway.writing import JobWriter

__all__ = ["Outside", "build_frame", "build_service"]


class Outside:
    """Everything that an app needs of the world; tests hand in their own."""

    def __init__(
        self,
        *,
        producer: Producer,
        table: JobTable,
        streams: Streams,
        blobs: Blobs,
        admissions: AdmissionStore,
        tickets: TicketDesk,
        conversations: ConversationView,
        authenticator: BearerAuthenticator,
        stores: BatchStores,
        clock: Clock,
    ) -> None:
        self.producer = producer
        self.table = table
        self.streams = streams
        self.blobs = blobs
        self.admissions = admissions
        self.tickets = tickets
        self.conversations = conversations
        self.authenticator = authenticator
        self.stores = stores
        self.clock = clock


class Inside:
    """The gateway's own state, shared by the app and the event watcher."""

    def __init__(
        self, clock: Clock, *, tasks: TaskCatalog, gateways: int, metrics: Metrics
    ) -> None:
        self.randomness = RandomPool().take
        self.drains: list[Callable[[], None]] = []
        self.closings: list[Callable[[], Awaitable[None]]] = []
        self.sweepers: list[Part] = []
        self.batch_handlers: list[Callable[[BatchRunning], BatchHandler]] = []
        self.lines = QueueLines(clock)
        self.recent = RecentJobs()
        self.webhooks = WebhookEndpoints()
        self.desk = AdmissionDesk(tasks, gateways=gateways, metrics=metrics, clock=clock)
        self.watcher = EventWatcher(
            lines=self.lines,
            recent=self.recent,
            crowd=self.desk.crowd,
            pace=self.desk.pace,
            tasks=tasks,
            clock=clock,
        )


def build_service(settings: GatewaySettings) -> Service:
    """A whole gateway process, not started."""
    clock = SystemClock()
    health = Health("gateway")
    metrics = Metrics(process_registry("gateway", version=VERSION))
    redis = connect_redis(settings.redis, name="gateway")
    service: Service | None = None

    def fail(error: Exception) -> None:
        assert service is not None
        service.fail(error)  # type: ignore[arg-type]  # the producer reports Fatal errors alone

    producer = KafkaProducer(settings.kafka, client_id="gateway", on_fatal=fail)
    tasks = load_tasks(settings.tasks_file)
    book = load_limits(settings.gateway.limits_file, tasks=tasks.names)
    inside = Inside(clock, tasks=tasks, gateways=settings.gateway.gateways, metrics=metrics)
    tail = EventTail(
        settings.kafka,
        settings.gateway.tail,
        clock=clock,
        metrics=metrics,
        watcher=inside.watcher.see,
        ids=JobIds(settings.auth.id_secret.get_secret_value().encode()),
    )
    table = RedisJobTable(redis)
    streams = JobStreams(tail, table)
    keys = ApiKeys(clock)
    secret = settings.auth.id_secret.get_secret_value().encode()
    credentials = CredentialTable(settings.kafka, keys=keys, producers=ProducerKeys(secret))
    shared = RedisAdmissions(redis, key_ttl=settings.gateway.idempotency_ttl)
    admissions = inside.desk.degrading(shared)
    outside = Outside(
        producer=producer,
        table=table,
        streams=streams,
        blobs=BlobStore(settings.blobs),
        admissions=admissions,
        tickets=Tickets(redis),
        conversations=RedisConversations(redis),
        authenticator=BearerAuthenticator(keys=keys, tokens=JwtTokens(settings.auth.jwt, clock)),
        stores=BatchStores(
            contents=FileStore(settings.blobs),
            files=RedisShelf(redis, "file"),
            batches=RedisShelf(redis, "batch"),
            events=RedisBatchEvents(redis),
        ),
        clock=clock,
    )
    gateway_metrics = GatewayMetrics(metrics)
    follower = build_follower(settings, outside, gateway_metrics, random=SystemRandom())
    waiters = EndWaiters(streams)
    frame = build_frame(
        settings,
        outside,
        inside,
        follower=follower,
        waiters=waiters,
        metrics=gateway_metrics,
        tasks=tasks,
        book=book,
    )
    board = ControlBoard(settings.kafka, producer)
    running = BatchRunning(leases=BatchLeases(redis, owner=uuid4().hex), cancels=board)
    handler = inside.batch_handlers[0](running)
    inside.drains.append(handler.leave)
    lanes = build_lanes(
        settings.gateway,
        handler,
        consumer=GroupConsumer(settings.kafka, BATCHES_GROUP, client_id="gateway-batches"),
        producer=producer,
        metrics=metrics,
        on_fatal=fail,
    )
    health.note("admission", admissions.note)
    health.note("batches", lanes.problem)
    health.check_readiness("events", tail.problem)
    health.check_liveness("events", tail.hang)
    admin = AdminServer(settings.admin, health, metrics.registry)
    parts: list[Part] = [
        admin,
        _RedisPart(redis),
        shared,
        _ProducerPart(producer),
        inside.desk.poller(settings.kafka),
        credentials,
        WebhookTable(settings.kafka, inside.webhooks),
        tail,
        streams,
        _Closings(inside.closings),
        board,
        lanes,
        *inside.sweepers,
        build_server(settings, frame),
        DrainFirst(health, follower.drain, waiters.drain, *inside.drains),
    ]
    service = Service(
        "gateway", parts, drain_timeout=settings.drain_timeout, on_drain=health.set_draining
    )
    return service


def build_follower(
    settings: GatewaySettings, outside: Outside, metrics: GatewayMetrics, *, random: Random
) -> EventFollower:
    """The part that streams events to readers."""
    group = settings.gateway
    return EventFollower(
        streams=outside.streams,
        is_live=outside.authenticator.is_live,
        limits=FollowLimits(
            heartbeat=group.heartbeat, max_events=group.stream_frames, max_bytes=group.stream_bytes
        ),
        metrics=metrics,
        random=random,
    )


def build_frame(
    settings: GatewaySettings,
    outside: Outside,
    inside: Inside,
    *,
    follower: EventFollower,
    waiters: EndWaiters,
    metrics: GatewayMetrics,
    tasks: TaskCatalog,
    book: LimitBook,
) -> Frame:
    """The ASGI application on top of what the outside gives."""
    group = settings.gateway
    ids = JobIds(settings.auth.id_secret.get_secret_value().encode())
    views = JobViews(socket_url=group.socket_url)
    native = NativeParts(
        authenticator=outside.authenticator,
        submitter=_submitter(settings, outside, inside, metrics, tasks=tasks, book=book, ids=ids),
        reader=JobReader(
            table=outside.table,
            ids=ids,
            recent=inside.recent,
            blobs=outside.blobs,
            clock=outside.clock,
            fresh_for=group.fresh_for,
            job_ttl=group.job_ttl,
        ),
        canceller=Canceller(producer=outside.producer, clock=outside.clock),
        streams=outside.streams,
        table=outside.table,
        blobs=outside.blobs,
        producer=outside.producer,
        bodies=BodyBudget(group.max_body_bytes_total, inside.desk.metrics.bodies),
        tasks=tasks,
        clock=outside.clock,
        randomness=inside.randomness,
    )
    jobs = Endpoints(
        authenticator=native.authenticator,
        submitter=native.submitter,
        reader=native.reader,
        canceller=native.canceller,
        follower=follower,
        waiters=waiters,
        tickets=outside.tickets,
        lines=inside.lines,
        views=views,
        bodies=native.bodies,
        limits=RouteLimits(
            max_body_bytes=group.max_body_bytes,
            max_wait=group.max_wait,
            stream_stall=group.stream_stall,
            ticket_lifetime=TICKET_LIFETIME,
        ),
        socket_url=group.socket_url,
        randomness=inside.randomness,
    )
    door = build_front_door(settings, native)
    inside.drains.append(lambda: door.runner.drain(group.drain_patience))
    moderator = build_moderator(group)
    inside.closings.append(moderator.close)
    desk = build_conversation_desk(door, outside.conversations)
    responses = build_responses(door, conversations=desk)
    roster = build_roster(door, metrics)
    inside.drains += [responses.readers.drain, roster.drain]
    files = build_file_desk(door, outside.stores)
    batches = build_batches(
        door, outside.stores, files, is_live=outside.authenticator.is_live, asks=responses.asks
    )
    inside.drains.append(batches.follower.drain)
    inside.sweepers.append(build_sweeper(door, files, outside.stores))
    inside.batch_handlers.append(
        lambda running: build_handler(door, outside.stores, batches, running)
    )
    endpoints = {
        "jobs": jobs,
        "openai.chat": build_chat(door),
        "openai.responses": responses.endpoints,
        "openai.moderations": build_moderations(door, moderator),
        "openai.completions": build_completions(door),
        "openai.embeddings": build_embeddings(door),
        "openai.models": build_models(door),
        "webhooks": build_webhook_endpoints(door, inside.webhooks),
        "openai.files": build_files(door, files),
        "openai.batches": batches.endpoints,
        "openai.conversations": build_conversations(door, desk),
    }
    sockets = build_socket(door, responses, roster, metrics=metrics)
    return create_app(endpoints, metrics=metrics, randomness=inside.randomness, sockets=sockets)


def build_server(settings: GatewaySettings, frame: Frame) -> HttpServer:
    """Uvicorn with everything off that a plain JSON service does not need."""
    return HttpServer(
        frame,
        host=settings.gateway.host,
        port=settings.gateway.port,
        reuse_port=True,
        stop_grace=settings.drain_timeout / 2,
        http="httptools",
        ws=socket_protocol(),
        ws_max_size=settings.gateway.socket_message_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.gateway.socket_ping.total_seconds(),
        ws_ping_timeout=settings.gateway.socket_ping.total_seconds(),
        proxy_headers=False,
        date_header=False,
        timeout_keep_alive=75,
    )


def _submitter(
    settings: GatewaySettings,
    outside: Outside,
    inside: Inside,
    metrics: GatewayMetrics,
    *,
    tasks: TaskCatalog,
    book: LimitBook,
    ids: JobIds,
) -> Submitter:
    models = known_models(settings.gateway.models, providers_file=settings.providers_file)
    secret = producer_secret(settings.auth.id_secret.get_secret_value().encode(), GATEWAY_PRODUCER)
    return Submitter(
        checker=JobChecker(tasks=tasks, models=models),
        ids=ids,
        admission=inside.desk.admission(
            outside.admissions, book=book, chance=SystemRandom().random
        ),
        writer=JobWriter(
            tasks=tasks,
            records=RecordWriter(speaker=Speaker(GATEWAY_PRODUCER, secret)),
            producer=outside.producer,
            blobs=outside.blobs,
            inline_limit_bytes=settings.blobs.inline_limit_bytes,
        ),
        lines=inside.lines,
        crowd=inside.desk.crowd,
        recent=inside.recent,
        metrics=metrics,
        clock=outside.clock,
        randomness=inside.randomness,
    )


class _RedisPart:
    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def start(self) -> None:
        """Connections are made by the first command: a gateway starts without Redis."""

    async def stop(self) -> None:
        await self._redis.aclose()


class _Closings:
    """Closes what endpoints have opened, once the server is gone."""

    def __init__(self, closings: list[Callable[[], Awaitable[None]]]) -> None:
        self._closings = closings

    async def start(self) -> None:
        """Everything opens by its first use."""

    async def stop(self) -> None:
        for close in self._closings:
            await close()


class _ProducerPart:
    """Stops within the lifecycle's own limits."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()
