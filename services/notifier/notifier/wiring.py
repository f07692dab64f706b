"""The composition root: every part of a notifier is made here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random, SystemRandom
from uuid import uuid4

from penstock_contracts.ids import JobIds
from penstock_kit.auth.api_keys import ApiKeys
from penstock_kit.auth.bearer import BearerAuthenticator
from penstock_kit.auth.jwt_tokens import JwtTokens
from penstock_kit.auth.principal import Authenticator
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.auth.table import CredentialTable
from penstock_kit.auth.tickets import Tickets
from penstock_kit.batches.records import batch_is_over
from penstock_kit.batches.shelf import RedisShelf, Shelf
from penstock_kit.clock import Clock, SystemClock
from penstock_kit.errors import Fatal
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.jobs.view import JobTable
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.ports import Producer
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.retry_topics import RetryTopics
from penstock_kit.lifecycle import Part, Service
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.streams.joining import JobStreams
from penstock_kit.tail.events import EventTail
from penstock_kit.tail.hub import LiveEvents
from penstock_kit.telemetry.health import AdminServer, Health
from penstock_kit.telemetry.metrics import Metrics, process_registry
from penstock_kit.webhooks.endpoints import WebhookEndpoints
from penstock_kit.webhooks.secrets import WebhookSecrets
from penstock_kit.webhooks.table import WebhookTable

from notifier import VERSION
from notifier.access import Access
from notifier.cancelling import Canceller
from notifier.desk import Desk, SessionLimits
from notifier.door import SocketDoor
from notifier.metrics import NotifierMetrics
from notifier.ports import Streams, TicketDesk
from notifier.roster import Roster, RosterLimits
from notifier.server import SocketServer
from notifier.settings import FINISH_MARGIN, NotifierGroup, NotifierSettings
from notifier.webhooks.building import WebhookLanes, WebhookOutside, build_webhooks
from notifier.webhooks.http_sender import HttpSender
from notifier.wire_ports import WireLimits

__all__ = ["Outside", "build_server", "build_service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Everything that the sockets need of the world; tests hand in their own."""

    authenticator: Authenticator
    tickets: TicketDesk
    table: JobTable
    live: LiveEvents
    streams: Streams
    producer: Producer
    ids: JobIds
    clock: Clock
    random: Random
    metrics: Metrics


def build_service(settings: NotifierSettings) -> Service:
    """A whole notifier process, not started."""
    service: Service | None = None

    def fail(error: Fatal) -> None:
        assert service is not None
        service.fail(error)

    clock = SystemClock()
    metrics = Metrics(process_registry("notifier", version=VERSION))
    secret = settings.auth.id_secret.get_secret_value().encode()
    redis = connect_redis(settings.redis, name="notifier")
    producer = KafkaProducer(settings.kafka, client_id="notifier", on_fatal=fail)
    keys = ApiKeys(clock)
    credentials = CredentialTable(settings.kafka, keys=keys, producers=ProducerKeys(secret))
    ids = JobIds(secret)
    tail = EventTail(settings.kafka, settings.notifier.tail, clock=clock, metrics=metrics, ids=ids)
    table = RedisJobTable(redis)
    streams = JobStreams(tail, table)
    outside = Outside(
        authenticator=BearerAuthenticator(keys=keys, tokens=JwtTokens(settings.auth.jwt, clock)),
        tickets=Tickets(redis),
        table=table,
        live=tail,
        streams=streams,
        producer=producer,
        ids=ids,
        clock=clock,
        random=SystemRandom(),
        metrics=metrics,
    )
    server = build_server(settings.notifier, outside)
    health = _health(tail, credentials)
    webhooks = (
        _Webhooks(settings, outside, RedisShelf(redis, "batch", is_final=batch_is_over), fail)
        if settings.notifier.webhooks.enabled
        else None
    )
    parts: list[Part] = [
        AdminServer(settings.admin, health, metrics.registry),
        _ClosingRedis(redis),
        producer,
        credentials,
        tail,
        streams,
        *(() if webhooks is None else webhooks.parts),
        server,
    ]
    if webhooks is not None:
        webhooks.watch(health)

    def drain() -> None:
        health.set_draining()
        server.drain()
        if webhooks is not None:
            webhooks.lanes.drain()

    service = Service(
        "notifier",
        parts,
        drain_timeout=settings.drain_timeout,
        on_started=health.set_started,
        on_drain=drain,
    )
    return service


def build_server(settings: NotifierGroup, outside: Outside) -> SocketServer:
    """The sockets over parts that somebody else starts."""
    metrics = NotifierMetrics(outside.metrics)
    roster = Roster(
        RosterLimits(
            total=settings.max_connections,
            per_tenant=settings.max_connections_per_tenant,
            per_user=settings.max_connections_per_user,
            ping_s=_seconds(settings.ping_interval),
            max_age_s=_seconds(settings.max_age),
        ),
        authenticator=outside.authenticator,
        clock=outside.clock,
        random=outside.random,
    )
    desk = Desk(
        authenticator=outside.authenticator,
        tickets=outside.tickets,
        access=Access(
            owners=outside.live,
            table=outside.table,
            ids=outside.ids,
            clock=outside.clock,
            job_ttl=settings.job_ttl,
        ),
        streams=outside.streams,
        live=outside.live,
        canceller=Canceller(outside.producer, outside.clock),
        roster=roster,
        limits=_session_limits(settings),
        clock=outside.clock,
        random=outside.random,
        metrics=metrics,
    )
    return SocketServer(
        host=settings.host,
        port=settings.port,
        door=SocketDoor(desk, origins=settings.origins),
        desk=desk,
        limits=WireLimits(
            settings.queue_frames, settings.queue_bytes, _seconds(settings.send_timeout)
        ),
        metrics=metrics,
    )


def _session_limits(settings: NotifierGroup) -> SessionLimits:
    return SessionLimits(
        auth_timeout_s=_seconds(settings.auth_timeout),
        messages_per_s=settings.messages_per_second,
        burst=2.0 * settings.messages_per_second,
        max_subscriptions=settings.max_subscriptions,
        ping_s=_seconds(settings.ping_interval),
        max_age_s=_seconds(settings.max_age),
    )


def _health(tail: EventTail, credentials: CredentialTable) -> Health:
    health = Health("notifier")
    health.check_readiness("events", tail.problem)
    health.check_readiness("credentials", credentials.table.check)
    health.check_liveness("events", tail.hang)
    return health


class _Webhooks:
    """The parts that deliver webhooks, in the order in which they start."""

    def __init__(
        self,
        settings: NotifierSettings,
        outside: Outside,
        batches: Shelf,
        fail: Callable[[Fatal], None],
    ) -> None:
        own, rules = settings.notifier.webhooks, settings.webhooks
        endpoints = WebhookEndpoints()
        self.table = WebhookTable(settings.kafka, endpoints)
        sender = HttpSender(
            rules.address_rules(),
            max_in_flight=own.max_in_flight,
            connect_timeout=own.connect_timeout,
            timeout=own.timeout,
            response_bytes=own.response_bytes,
            ca_file=own.ca_file,
        )
        self.lanes: WebhookLanes = build_webhooks(
            own,
            WebhookOutside(
                consumer=lambda group, pace: GroupConsumer(
                    settings.kafka, group, client_id="notifier", pace=pace
                ),
                producer=outside.producer,
                table=outside.table,
                batches=batches,
                endpoints=endpoints,
                is_current=lambda: self.table.table.is_current,
                secrets=WebhookSecrets(settings.auth.id_secret.get_secret_value().encode()),
                urls=rules.url_rules(),
                sender=sender,
                ids=outside.ids,
                clock=outside.clock,
                random=outside.random.random,
                new_id=lambda: uuid4().hex,
                metrics=outside.metrics,
                on_fatal=fail,
                session=settings.kafka.session_timeout,
                drain_timeout=settings.drain_timeout - FINISH_MARGIN,
                retries=RetryTopics.standard(),
            ),
        )
        self.parts: list[Part] = [self.table, sender, *self.lanes.parts]

    def watch(self, health: Health) -> None:
        """Have readiness tell what is wrong with them."""
        health.check_readiness("webhook endpoints", self.table.table.check)
        health.check_readiness("webhook events", self.lanes.telling.problem)
        health.check_readiness("webhook deliveries", self.lanes.delivering.problem)


def _seconds(duration: timedelta) -> float:
    return duration / timedelta(seconds=1)


class _ClosingRedis:
    """Closes the client's connections; it opens them by itself."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def start(self) -> None:
        """Nothing to wait for: without Redis the sockets work from the ring."""

    async def stop(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
