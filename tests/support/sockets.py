"""A notifier on a real port over parts in memory, and clients that speak its protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

import orjson
from notifier.settings import NotifierGroup
from notifier.wiring import Outside, build_server
from penstock_contracts.credentials import Scope
from penstock_contracts.ids import JobIds, new_uuid7
from penstock_contracts.topics import CONTROL
from penstock_kit.auth.principal import AuthError, Principal
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.streams.joining import JobStreams
from penstock_kit.tail.hub import EventHub
from penstock_kit.tail.metrics import TailMetrics
from penstock_kit.tail.ring import EventRing
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.telemetry.metrics import Metrics
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.events import an_event
from tests.support.recording import Recording

__all__ = [
    "PROTOCOL",
    "UPGRADE",
    "Client",
    "HandClock",
    "KnownKeys",
    "KnownTickets",
    "World",
    "a_world",
]

PROTOCOL = Subprotocol("penstock.v1.json")
UPGRADE = (
    b"GET /v1/socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Authorization: Bearer key-acme-ann\r\n\r\n"
)
SECRET = b"a secret of tests, 32 bytes or more"


class HandClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        """The instant."""
        return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """The seconds."""
        return self.seconds


class KnownKeys:
    """Implements `Authenticator`: `key-<tenant>-<user>`, or `key-<tenant>` for all of it."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.dead: set[str] = set()
        self.expires_at: datetime | None = None

    def authenticate(self, credential: str) -> Principal:
        """See `Authenticator`."""
        kind, _, rest = credential.partition("-")
        if kind != "key" or not rest:
            raise AuthError("the API key is not known", code="invalid_api_key")
        tenant, _, user = rest.partition("-")
        level = Scope.USER if user else Scope.TENANT
        return Principal(tenant, user or "service", level, credential, self.expires_at)

    def lapse_of(self, principal: Principal) -> AuthError | None:
        """See `Authenticator`."""
        if principal.credential in self.dead:
            return AuthError("the API key was revoked", code="revoked_api_key")
        if principal.expires_at is not None and principal.expires_at <= self._clock.now():
            return AuthError("the token has expired", code="expired_token")
        return None


class KnownTickets:
    """Implements `TicketDesk`."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}
        self.is_away = False

    async def redeem(self, ticket: str) -> Principal:
        """See `TicketDesk`."""
        if self.is_away:
            raise TableAway("tickets are not available")
        try:
            return self.known.pop(ticket)
        except KeyError:
            raise AuthError("the ticket is unknown", code="invalid_ticket") from None


class Client:
    """One socket's end, in messages."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, **message: Any) -> None:
        """Send one message."""
        await self.connection.send(orjson.dumps(message).decode())

    async def hear(self, *, limit_s: float = 10) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(limit_s):
            frame = await self.connection.recv()
        assert isinstance(frame, str)
        message: dict[str, Any] = orjson.loads(frame)
        return message

    async def hear_all_of(self, kind: str, *, count: int) -> list[dict[str, Any]]:
        """So many messages, all of one type."""
        heard = [await self.hear() for _ in range(count)]
        assert [message["type"] for message in heard] == [kind] * count, heard
        return heard

    async def closed(self, *, limit_s: float = 10) -> tuple[int | None, str | None]:
        """Code and reason, once the server has closed."""
        async with asyncio.timeout(limit_s):
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


class World:
    """A running notifier and everything around it."""

    def __init__(self, settings: NotifierGroup, *, ring: int = 10_000) -> None:
        self.metrics = Metrics()
        self.hub = EventHub(
            EventRing(max_events=ring, max_bytes=1 << 26), TailMetrics(self.metrics)
        )
        self.table = Recording(ids=JobIds(SECRET))
        self.clock = HandClock()
        self.keys = KnownKeys(self.clock)
        self.tickets = KnownTickets()
        self.ids = JobIds(SECRET)
        self.kafka = MemoryKafka([CONTROL.name], partitions=1)
        self.producer = self.kafka.producer()
        self.streams = JobStreams(self.hub, self.table, lag_pauses_s=(0.001,))
        self.server = build_server(
            settings,
            Outside(
                authenticator=self.keys,
                tickets=self.tickets,
                table=self.table,
                live=self.hub,
                streams=self.streams,
                producer=self.producer,
                ids=self.ids,
                clock=self.clock,
                random=Random(1),
                metrics=self.metrics,
            ),
        )

    @property
    def url(self) -> str:
        """Where the socket is."""
        return f"ws://127.0.0.1:{self.server.port}/v1/socket"

    def issue(self, name: int = 1, *, tenant: str = "acme") -> str:
        """A job id as a gateway issues it now."""
        now_ms = int(self.clock.now().timestamp() * 1000)
        uuid = new_uuid7(now_ms=now_ms, randomness=name.to_bytes(10, "big"))
        return self.ids.issue(tenant=tenant, uuid=uuid)

    def live(self, *events: TailedEvent) -> None:
        """Events arrive from the log."""
        for event in events:
            self.hub.feed(event)

    def run(self, job: str, *texts: str, user: str | None = "ann") -> list[TailedEvent]:
        """Queued, started and deltas of a job."""
        heads = [
            an_event("queued", "0-1", job=job, user=user),
            an_event("started", "1-1", job=job, user=user),
        ]
        return heads + [
            an_event("delta", f"1-{seq}", job=job, user=user, text=text)
            for seq, text in enumerate(texts, start=2)
        ]

    @asynccontextmanager
    async def client(
        self, key: str | None = "key-acme-ann", *, query: str = "", **options: Any
    ) -> AsyncIterator[Client]:
        """A connected client; with a key it has heard `ready`."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= options.pop("additional_headers", {})
        options.setdefault("subprotocols", [PROTOCOL])
        async with connect(
            self.url + query,
            additional_headers=headers,
            compression=None,
            ping_interval=None,
            max_size=None,
            **options,
        ) as connection:
            client = Client(connection)
            if key is not None and key.startswith("key-"):
                assert (await client.hear())["type"] == "ready"
            yield client

    def tick(self, *, after_s: float) -> None:
        """Let time pass, then do what is due once a second."""
        self.clock.seconds += after_s
        self.server._desk.roster.tick()

    def count(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.metrics.registry.get_sample_value(f"penstock_{name}", labels) or 0.0


@asynccontextmanager
async def a_world(*, ring: int = 10_000, **settings: Any) -> AsyncIterator[World]:
    """A notifier that listens on a free port until the end of the block."""
    world = World(NotifierGroup(port=0, **settings), ring=ring)
    await world.producer.start()
    await world.server.start()
    try:
        yield world
    finally:
        await world.streams.stop()
        await world.server.stop()
        await world.producer.stop()
