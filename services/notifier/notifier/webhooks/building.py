"""Puts the webhooks of a notifier together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from penstock_contracts.ids import JobIds
from penstock_contracts.topics import WEBHOOK_DELIVERIES
from penstock_kit.clock import Clock
from penstock_kit.errors import Fatal
from penstock_kit.kafka.factory import Pace
from penstock_kit.kafka.ports import Consumer, Producer, Record
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.policy import REVOKE_DEADLINE, LanePolicy, Order
from penstock_kit.lanes.retry_topics import RetryTopics
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.webhooks.endpoints import WebhookEndpoints
from penstock_kit.webhooks.secrets import WebhookSecrets
from penstock_kit.webhooks.urls import UrlRules

from notifier.webhooks.delivering import Deliverer
from notifier.webhooks.metrics import WebhookMetrics
from notifier.webhooks.noticing import SOURCES, is_wanted
from notifier.webhooks.ports import BatchShelf, Ends, Sender
from notifier.webhooks.schedule import Schedule
from notifier.webhooks.settings import DeliverySettings
from notifier.webhooks.signing import Signer
from notifier.webhooks.standing import Standing
from notifier.webhooks.telling import Teller

__all__ = ["DELIVERY_GROUP", "TELLING_GROUP", "WebhookLanes", "WebhookOutside", "build_webhooks"]

TELLING_GROUP = "webhook-events"
DELIVERY_GROUP = "webhook-deliveries"
_COMMIT_INTERVAL = timedelta(seconds=1)
"""Nearly all records are passed over: their offsets need no hurry."""
_STALL_FATAL = timedelta(minutes=10)
"""Sockets outlive a broker that is away for a while; webhooks must not take them down."""
_DEAD_PER_MINUTE = 10_000
"""Broken records are other producers' fault and stop nobody's webhooks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOutside:
    """What webhooks need of the world; tests hand in their own.

    Attributes:
        consumer: makes the consumer of a group; many events pass by for each that is told.
        is_current: whether the endpoints in memory are those of the topic.
    """

    consumer: Callable[[str, Pace], Consumer]
    producer: Producer
    table: Ends
    batches: BatchShelf
    endpoints: WebhookEndpoints
    is_current: Callable[[], bool]
    secrets: WebhookSecrets
    urls: UrlRules
    sender: Sender
    ids: JobIds
    clock: Clock
    random: Callable[[], float]
    new_id: Callable[[], str]
    metrics: Metrics
    on_fatal: Callable[[Fatal], None]
    session: timedelta
    drain_timeout: timedelta
    retries: RetryTopics


@dataclass(frozen=True, slots=True)
class WebhookLanes:
    """The two halves: from ends to deliveries, from deliveries to receivers."""

    telling: Lanes
    delivering: Lanes

    @property
    def parts(self) -> Sequence[Lanes]:
        """In the order in which they start."""
        return (self.delivering, self.telling)

    def drain(self) -> None:
        """Begin nothing more."""
        self.telling.pause()
        self.delivering.pause()


def build_webhooks(settings: DeliverySettings, outside: WebhookOutside) -> WebhookLanes:
    """Both lanes, not started."""
    metrics = WebhookMetrics(outside.metrics)
    teller = Teller(
        endpoints=outside.endpoints,
        table=outside.table,
        batches=outside.batches,
        producer=outside.producer,
        ids=outside.ids,
        metrics=metrics,
    )
    telling = Lanes(
        consumer=outside.consumer(TELLING_GROUP, Pace.BATCH),
        producer=outside.producer,
        handler=teller,
        topics=SOURCES,
        policy=replace(_policy(outside), commit_interval=_COMMIT_INTERVAL),
        clock=outside.clock,
        on_fatal=outside.on_fatal,
        name=TELLING_GROUP,
        metrics=outside.metrics,
        is_wanted=is_wanted,
    )
    delivering = Lanes(
        consumer=outside.consumer(DELIVERY_GROUP, Pace.PROMPT),
        producer=outside.producer,
        handler=_deliverer(settings, outside, metrics),
        topics=[WEBHOOK_DELIVERIES.name],
        retries=outside.retries,
        policy=replace(
            _policy(outside),
            order=Order.NONE,
            max_in_flight=settings.max_in_flight,
            tenant_in_flight=settings.endpoint_in_flight,
        ),
        clock=outside.clock,
        on_fatal=outside.on_fatal,
        name=DELIVERY_GROUP,
        metrics=outside.metrics,
        tenant_of=_endpoint_of,
    )
    return WebhookLanes(telling, delivering)


def _deliverer(
    settings: DeliverySettings, outside: WebhookOutside, metrics: WebhookMetrics
) -> Deliverer:
    return Deliverer(
        endpoints=outside.endpoints,
        is_current=outside.is_current,
        urls=outside.urls,
        signer=Signer(outside.secrets),
        sender=outside.sender,
        schedule=Schedule(settings.schedule, settings.longest_asked),
        standing=Standing(
            endpoints=outside.endpoints,
            producer=outside.producer,
            clock=outside.clock,
            new_id=outside.new_id,
            disable_after=settings.disable_after,
            metrics=metrics,
        ),
        clock=outside.clock,
        random=outside.random,
        metrics=metrics,
    )


def _policy(outside: WebhookOutside) -> LanePolicy:
    return LanePolicy(
        session=outside.session,
        revoke_deadline=min(REVOKE_DEADLINE, outside.session / 2),
        drain_timeout=outside.drain_timeout,
        dead_per_minute=_DEAD_PER_MINUTE,
        stall_fatal=_STALL_FATAL,
    )


def _endpoint_of(record: Record) -> str | None:
    """Whose turn a delivery counts for: each endpoint has its own."""
    return None if record.key is None else record.key.decode(errors="replace")
