"""A gateway's app over in-memory parts, and a client that talks to it without a network."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

from gateway.admission.local_store import LocalAdmissions
from gateway.admission.rules import LimitBook
from gateway.admission.store import Ask
from gateway.admission.store import Reply as StoreReply
from gateway.frame import App
from gateway.metrics import GatewayMetrics
from gateway.openai.conversations.ports import ViewIncomplete
from gateway.openai.files.stores import BatchStores
from gateway.settings import GatewaySettings
from gateway.stream import EventFollower
from gateway.waiting import EndWaiters
from gateway.wiring import Inside, Outside, build_follower, build_frame
from penstock_contracts.conversations import ConversationState
from penstock_contracts.credentials import Scope
from penstock_contracts.events import JobEvent, JobStatus, Position
from penstock_contracts.parts import BlobRef
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest
from penstock_contracts.topics import EVENTS
from penstock_kit.auth.api_keys import ApiKeys, make_api_key
from penstock_kit.auth.bearer import BearerAuthenticator
from penstock_kit.auth.jwt_tokens import JwtTokens
from penstock_kit.auth.principal import Principal
from penstock_kit.batches.memory import MemoryBatchEvents, MemoryRecalls, MemoryShelf
from penstock_kit.blobs.files import OnAway, pass_on
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.jobs.view import JobPage, StoredEvent, TableAway
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.settings import (
    AdminSettings,
    AuthSettings,
    BlobSettings,
    KafkaSettings,
    RedisSettings,
)
from penstock_kit.streams.joining import JobStreams
from penstock_kit.tail.hub import EventHub
from penstock_kit.tail.metrics import TailMetrics
from penstock_kit.tail.ring import EventRing
from penstock_kit.tail.tailed import TailedEvent, read_event
from penstock_kit.tasks import TaskCatalog
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.tenancy import TenantScope

from tests.support.clock import HandClock
from tests.support.waiting import until
from tests.support.webhooks import MemoryEndpointLog

__all__ = [
    "ID_SECRET",
    "GatewayBench",
    "OpenCall",
    "Reply",
    "gateway_settings",
    "make_bench",
    "run_app",
]

ID_SECRET = "0123456789abcdef" * 4


def gateway_settings(**gateway: Any) -> GatewaySettings:
    """Settings that touch nothing outside."""
    return GatewaySettings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"),
        redis=RedisSettings(url="redis://127.0.0.1:1/0"),
        blobs=BlobSettings(url="file:///nowhere"),
        auth=AuthSettings(id_secret=ID_SECRET),
        admin=AdminSettings(port=0),
        gateway={"socket_url": "ws://notifier/v1/socket", **gateway},
    )


@dataclass
class MemoryTable:
    """A job table that tests fill by hand."""

    states: dict[str, JobState] = field(default_factory=dict)
    requests: dict[str, KeptRequest] = field(default_factory=dict)
    forgets_at_once: bool = False
    """Requests are there for one look more, as after a deletion."""
    is_away: bool = False
    refusals: int = 0
    """Calls that it was away for."""

    async def get(self, scope: TenantScope, job_id: str) -> JobState | None:
        self._check()
        state = self.states.get(job_id)
        if state is None or not scope.may_see(tenant=state.tenant, user=state.user):
            return None
        return state

    async def page(
        self,
        scope: TenantScope,
        *,
        status: JobStatus | None = None,
        task: str | None = None,
        user: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> JobPage:
        self._check()
        start = int(after) if after else 0
        found = [
            state
            for state in self.states.values()
            if scope.may_see(tenant=state.tenant, user=state.user)
            and status in (None, state.status)
            and task in (None, state.task)
            and user in (None, state.user)
        ]
        more = start + limit < len(found)
        return JobPage(found[start : start + limit], str(start + limit) if more else None)

    async def events(
        self, scope: TenantScope, job_id: str, *, after: Position | None = None
    ) -> list[StoredEvent]:
        del scope, job_id, after
        self._check()
        return []

    async def request(self, scope: TenantScope, job_id: str) -> KeptRequest | None:
        self._check()
        state = self.states.get(job_id)
        if state is not None and not scope.may_see(tenant=state.tenant, user=state.user):
            return None
        kept = self.requests.get(job_id)
        if self.forgets_at_once:
            self.requests.clear()
        return kept

    def _check(self) -> None:
        if self.is_away:
            self.refusals += 1
            raise TableAway("away")


@dataclass
class MemoryBlobs:
    """Blobs in a dictionary."""

    stored: dict[str, bytes] = field(default_factory=dict)
    is_away: bool = False

    async def put(self, scope: TenantScope, job: str, kind: str, data: bytes) -> BlobRef:
        if self.is_away:
            raise Retryable("away")
        path = f"{scope.tenant}/{job}/{kind}"
        self.stored[path] = data
        return BlobRef(path=path, sha256="0" * 64, size_bytes=len(data))

    async def stream(self, scope: TenantScope, ref: BlobRef) -> AsyncIterator[bytes]:
        del scope
        if self.is_away:
            raise Retryable("away")
        data = self.stored[ref.path]
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]


@dataclass
class MemoryFiles:
    """Contents of files in a dictionary; an upload that fails leaves nothing."""

    stored: dict[str, bytes] = field(default_factory=dict)
    is_away: bool = False
    refusals: int = 0
    """Chunks that it was away for."""

    async def put(
        self, scope: TenantScope, file_id: str, *, upload: str, chunks: AsyncIterator[bytes]
    ) -> BlobRef:
        if self.is_away:
            raise Retryable("away")
        data = b"".join([chunk async for chunk in chunks])
        path = f"{scope.tenant}/{file_id}/{upload}"
        self.stored[path] = data
        digest = hashlib.sha256(data).hexdigest()
        return BlobRef(path=path, sha256=digest, size_bytes=len(data))

    async def stream(
        self, scope: TenantScope, ref: BlobRef, *, on_away: OnAway = pass_on
    ) -> AsyncIterator[bytes]:
        del scope
        for start in range(0, ref.size_bytes, 4096):
            while self.is_away:
                self.refusals += 1
                await on_away(Retryable("away"))
            if ref.path not in self.stored:
                raise Rejected("gone", code="missing_blob")
            yield self.stored[ref.path][start : start + 4096]

    async def delete(self, scope: TenantScope, ref: BlobRef) -> None:
        del scope
        if self.is_away:
            raise Retryable("away")
        self.stored.pop(ref.path, None)


class MemoryAdmissions(LocalAdmissions):
    """Redis' part of admission in memory; it can be away."""

    is_away = False

    async def admit(self, ask: Ask) -> StoreReply:
        if self.is_away:
            raise TableAway("away")
        return replace(await super().admit(ask), is_local=False)


@dataclass
class MemoryTickets:
    """Tickets that anybody can guess."""

    issued: list[Principal] = field(default_factory=list)

    async def issue(self, principal: Principal) -> str:
        self.issued.append(principal)
        return f"ticket-{len(self.issued)}"


@dataclass
class MemoryConversationView:
    """Conversations that a test's worker writes; it can be away, or have lost all."""

    states: dict[tuple[str, str], ConversationState] = field(default_factory=dict)
    is_away: bool = False
    is_complete: bool = True

    async def find(self, scope: TenantScope, conversation: str) -> ConversationState | None:
        if self.is_away:
            raise TableAway("away")
        state = self.states.get((scope.tenant, conversation))
        if state is None and not self.is_complete:
            raise ViewIncomplete("lost")
        return state


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as plain values."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code."""
        assert self.headers["content-type"] == "application/problem+json"
        return str(self.json["error"]["code"])


@dataclass
class GatewayBench:
    """Everything that a test of the app may look at or turn."""

    frame: App
    kafka: MemoryKafka
    table: MemoryTable
    blobs: MemoryBlobs
    admissions: MemoryAdmissions
    tickets: MemoryTickets
    conversations: MemoryConversationView
    keys: ApiKeys
    clock: HandClock
    hub: EventHub
    inside: Inside
    follower: EventFollower
    waiters: EndWaiters
    stores: BatchStores
    metrics: GatewayMetrics
    key: str = ""

    def new_key(
        self,
        *,
        tenant: str = "acme",
        user: str = "ann",
        scope: Scope = Scope.USER,
        lifetime: timedelta | None = None,
    ) -> str:
        """A key that the app accepts."""
        now = self.clock.now()
        expires_at = None if lifetime is None else now + lifetime
        made = make_api_key(tenant=tenant, user=user, scope=scope, now=now, expires_at=expires_at)
        self.keys.put(made.record)
        return made.token

    def feed(self, event: JobEvent, *, tenant: str = "acme", user: str | None = "ann") -> None:
        """Let the tail read an event."""
        value = event.model_dump_json(exclude_none=True).encode()
        tailed = TailedEvent(event.job, event.position, event.type, tenant, user, value)
        self.hub.feed(tailed)
        self.inside.watcher.see(tailed)

    def feed_written(self) -> None:
        """Let the tail read everything that lies in the events topic."""
        for record in self.kafka.records(EVENTS.name):
            event = read_event(record.key, record.headers, record.value)
            self.hub.feed(event)
            self.inside.watcher.see(event)

    async def until_hinted(self, job: str) -> None:
        """Return once the events topic says that the job waits: hints go out in bursts."""
        key = job.encode()
        await until(lambda: any(record.key == key for record in self.kafka.records(EVENTS.name)))

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Reply:
        """One request through the whole app; a body that is no bytes is sent as JSON."""
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        given = dict(headers or {})
        if body is not None:
            given = {"content-type": "application/json", "content-length": str(len(raw)), **given}
        return await run_app(self.frame, self.scope(method, path, headers=given, key=key), raw)

    def scope(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """The ASGI scope of a request; a header with an empty value is left out."""
        path, _, query = path.partition("?")
        sent = {"authorization": f"Bearer {self.key if key is None else key}"}
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        return {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "headers": [
                (name.encode(), value.encode("latin-1")) for name, value in sent.items() if value
            ],
        }

    async def written_job(self, topic: str = "ai.chat.requests.v1") -> str:
        """The id of the next job that is written."""
        async with asyncio.timeout(10):
            while not self.kafka.records(topic):  # noqa: ASYNC110 - a broker has no event for its tests
                await asyncio.sleep(0)
        return dict(self.kafka.records(topic)[-1].headers)["ce_id"].decode()


class OpenCall:
    """A request that is still being answered: a GET, or with a body a POST."""

    def __init__(
        self,
        bench: GatewayBench,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._body = b"" if body is None else json.dumps(body).encode()
        self._is_read = body is None
        self._text = ""
        self._grown = asyncio.Event()
        self._left: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        method = "GET" if body is None else "POST"
        sent = {**({} if body is None else {"content-type": "application/json"}), **(headers or {})}
        scope = bench.scope(method, path, headers=sent)
        self._task = asyncio.create_task(bench.frame(scope, self._receive, self._send))

    async def until(self, part: str) -> None:
        """Return once the answer contains the text."""
        async with asyncio.timeout(10):
            while part not in self._text:
                self._grown.clear()
                await self._grown.wait()

    async def end(self) -> str:
        """The whole answer, once it is over."""
        async with asyncio.timeout(10):
            await self._task
        return self._text

    async def hang_up(self) -> None:
        """Leave, and wait until the app has noticed."""
        self._left.set_result({"type": "http.disconnect"})
        await self.end()

    async def _receive(self) -> dict[str, Any]:
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        return await asyncio.shield(self._left)

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode().lower(): value.decode() for name, value in message["headers"]
            }
        self._text += message.get("body", b"").decode()
        self._grown.set()


async def run_app(app: Any, scope: dict[str, Any], body: bytes) -> Reply:
    """Run an ASGI app with one body and collect its answer."""
    messages: list[dict[str, Any]] = []
    is_sent = False

    async def receive() -> dict[str, Any]:
        nonlocal is_sent
        if is_sent:
            await asyncio.get_running_loop().create_future()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(dict(message))

    async with asyncio.timeout(10):
        await app(scope, receive, send)
    start, *rest = messages
    headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], headers, b"".join(part.get("body", b"") for part in rest))


async def make_bench(*, book: LimitBook | None = None, **gateway: Any) -> GatewayBench:
    """A fresh app with a user's key of tenant acme, user ann."""
    settings = gateway_settings(**gateway)
    tasks = TaskCatalog.builtin()
    kafka = MemoryKafka(tasks.topics())
    clock = HandClock()
    hub = EventHub(EventRing(max_events=1000, max_bytes=1 << 20), TailMetrics(Metrics()))
    table, blobs = MemoryTable(), MemoryBlobs()
    tickets, keys = MemoryTickets(), ApiKeys(clock)
    conversations = MemoryConversationView()
    producer = kafka.producer()
    await producer.start()
    streams = JobStreams(hub, table)
    inside = Inside(clock, tasks=tasks, gateways=settings.gateway.gateways, metrics=Metrics())
    admissions = MemoryAdmissions(clock, inside.desk.crowd)
    waiters = EndWaiters(streams)
    stores = BatchStores(
        contents=MemoryFiles(),
        files=MemoryShelf(),
        batches=MemoryShelf(),
        events=MemoryBatchEvents(),
        recalls=MemoryRecalls(),
    )
    outside = Outside(
        producer=producer,
        table=table,
        streams=streams,
        blobs=blobs,
        admissions=inside.desk.degrading(admissions),
        tickets=tickets,
        conversations=conversations,
        authenticator=BearerAuthenticator(keys=keys, tokens=JwtTokens([], clock)),
        stores=stores,
        webhook_log=MemoryEndpointLog(kafka, inside.webhooks),
        clock=clock,
    )
    metrics = GatewayMetrics(Metrics())
    follower = build_follower(settings, outside, metrics, random=Random(1))
    frame = build_frame(
        settings,
        outside,
        inside,
        follower=follower,
        waiters=waiters,
        metrics=metrics,
        tasks=tasks,
        book=book or LimitBook(),
    )
    bench = GatewayBench(
        frame=frame,
        kafka=kafka,
        table=table,
        blobs=blobs,
        admissions=admissions,
        tickets=tickets,
        conversations=conversations,
        keys=keys,
        clock=clock,
        hub=hub,
        inside=inside,
        follower=follower,
        waiters=waiters,
        stores=stores,
        metrics=metrics,
    )
    bench.key = bench.new_key()
    return bench
