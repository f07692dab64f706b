"""What an app stands on: the world outside of it, and the state that its parts share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from penstock_kit.auth.bearer import BearerAuthenticator
from penstock_kit.clock import Clock
from penstock_kit.jobs.view import JobTable
from penstock_kit.kafka.ports import Producer
from penstock_kit.lifecycle import Part
from penstock_kit.tasks import TaskCatalog
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.webhooks.endpoints import WebhookEndpoints

from gateway.admission.store import AdmissionStore
from gateway.admission.wiring import AdmissionDesk
from gateway.following import EventWatcher
from gateway.openai.batches.handler import BatchHandler
from gateway.openai.batches.wiring import (
    BatchRunning,
)
from gateway.openai.conversations.ports import ConversationView
from gateway.openai.files.stores import BatchStores
from gateway.ports import Blobs, Streams, TicketDesk
from gateway.queueing import QueueLines
from gateway.randomness import RandomPool
from gateway.recent import RecentJobs
from gateway.webhook_endpoints.ports import EndpointLog

__all__ = ["Inside", "Outside"]


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
        webhook_log: EndpointLog,
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
        self.webhook_log = webhook_log
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
