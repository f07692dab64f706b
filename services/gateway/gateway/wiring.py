"""The composition root: a gateway is made here, its app in `wiring_app`, and nowhere else."""

from __future__ import annotations

from random import Random, SystemRandom
from uuid import uuid4

from penstock_contracts.ids import JobIds
from penstock_contracts.topics import BATCH_EVENTS
from penstock_kit.auth.api_keys import ApiKeys
from penstock_kit.auth.bearer import BearerAuthenticator
from penstock_kit.auth.jwt_tokens import JwtTokens
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.auth.table import CredentialTable
from penstock_kit.auth.tickets import Tickets
from penstock_kit.batches.events import RedisBatchEvents
from penstock_kit.batches.lease import BatchLeases
from penstock_kit.batches.recalls import RedisRecalls
from penstock_kit.batches.records import batch_is_over
from penstock_kit.batches.shelf import RedisShelf
from penstock_kit.blobs.files import FileStore
from penstock_kit.blobs.store import BlobStore
from penstock_kit.clock import SystemClock
from penstock_kit.control import ControlBoard
from penstock_kit.jobs.coverage import Coverage, FoldMarks
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.ends import KafkaEnds
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lifecycle import Part, Service
from penstock_kit.redis_client import connect_redis
from penstock_kit.serving import HttpServer, socket_protocol
from penstock_kit.streams.joining import JobStreams
from penstock_kit.tail.events import EventTail
from penstock_kit.tasks import load_tasks
from penstock_kit.telemetry.health import AdminServer, Health
from penstock_kit.telemetry.metrics import Metrics, process_registry
from penstock_kit.webhooks.table import WebhookTable

from gateway.admission.redis_store import RedisAdmissions
from gateway.admission.rules import load_limits
from gateway.draining import DrainFirst
from gateway.frame import App
from gateway.metrics import GatewayMetrics
from gateway.openai.batches.waiting import WaitingBatches
from gateway.openai.batches.wiring import (
    BATCHES_GROUP,
    BatchRunning,
    build_lanes,
)
from gateway.openai.conversations.redis_view import RedisConversations
from gateway.openai.files.stores import BatchStores
from gateway.openapi import VERSION
from gateway.settings import GatewaySettings
from gateway.stream import EventFollower, FollowLimits
from gateway.surroundings import Inside, Outside
from gateway.waiting import EndWaiters
from gateway.wiring_app import build_frame
from gateway.wiring_parts import Closings, ProducerPart, RedisPart

__all__ = ["Inside", "Outside", "build_follower", "build_frame", "build_server", "build_service"]


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
    webhook_log = WebhookTable(settings.kafka, inside.webhooks)
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
            batches=RedisShelf(redis, "batch", is_final=batch_is_over),
            events=RedisBatchEvents(redis),
            recalls=RedisRecalls(redis),
        ),
        webhook_log=webhook_log,
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
    running = BatchRunning(
        leases=BatchLeases(redis, owner=uuid4().hex),
        cancels=board,
        folded=Coverage(
            KafkaEnds(settings.kafka, BATCH_EVENTS.name),
            FoldMarks(redis, topic=BATCH_EVENTS.name),
        ),
    )
    handler = inside.batch_handlers[0](running)
    inside.drains.append(handler.leave)
    lanes = build_lanes(
        settings.gateway,
        handler,
        consumer=GroupConsumer(settings.kafka, BATCHES_GROUP, client_id="gateway-batches"),
        producer=producer,
        metrics=metrics,
        session=settings.kafka.session_timeout,
        on_fatal=fail,
    )
    waiting = WaitingBatches(lanes, handler, cancels=board, clock=clock)
    health.note("admission", admissions.note)
    health.note("batches", lanes.problem)
    health.check_readiness("events", tail.problem)
    health.check_liveness("events", tail.hang)
    admin = AdminServer(settings.admin, health, metrics.registry)
    parts: list[Part] = [
        admin,
        RedisPart(redis),
        shared,
        ProducerPart(producer),
        inside.desk.poller(settings.kafka),
        credentials,
        webhook_log,
        tail,
        streams,
        Closings(inside.closings),
        board,
        lanes,
        waiting,
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
        lapse_of=outside.authenticator.lapse_of,
        limits=FollowLimits(
            heartbeat=group.heartbeat, max_events=group.stream_frames, max_bytes=group.stream_bytes
        ),
        metrics=metrics,
        random=random,
    )


def build_server(settings: GatewaySettings, frame: App) -> HttpServer:
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
