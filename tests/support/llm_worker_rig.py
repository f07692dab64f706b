"""An llm-worker on an in-memory Kafka and a fake provider: everything else is the real thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from llm_worker.openai_provider import OpenAIProvider
from llm_worker.providers_file import Providers
from llm_worker.settings import LlmWorkerGroup
from llm_worker.templates import Templates
from llm_worker.worker import Surroundings, Worker, build_worker
from penstock_contracts.catalog import CE_REQUEST
from penstock_contracts.conversations import ConversationState
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.events import TERMINAL, JobStatus
from penstock_contracts.ids import JobIds, derived_job_id
from penstock_contracts.parts import Usage
from penstock_contracts.topics import RETRY_DELAYS_S, retry_topic
from penstock_kit.blobs.store import BlobStore
from penstock_kit.clock import SystemClock
from penstock_kit.control import Cancel
from penstock_kit.errors import Fatal
from penstock_kit.intake import Intake, Sender, VerifiedRequest
from penstock_kit.jobs.attempts import AlreadyOver, Begin, LostOutcome, Verdict
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import OutRecord, Producer, Record
from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.retry_topics import RetryTier, RetryTopics
from penstock_kit.settings import BlobSettings
from penstock_kit.tasks import RetryPolicy, TaskCatalog, TaskType
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.tenancy import TenantScope

from tests.support.fake_provider.script import Script
from tests.support.fake_provider.server import FakeProvider

TIERS = [
    RetryTier(retry_topic(delay_s).name, timedelta(seconds=delay_s / 5))
    for delay_s in RETRY_DELAYS_S
]
"""The topics of every deployment, with a fifth of their delays."""

__all__ = ["MemoryBoard", "MemoryLedger", "Rig", "eventually", "llm_rig"]


class MemoryBoard:
    """Implements `CancelBoard`."""

    def __init__(self) -> None:
        self.cancels: dict[str, Cancel] = {}
        self._callbacks: list[Callable[[Cancel], None]] = []

    def cancel_of(self, job: str, tenant: str) -> Cancel | None:
        cancel = self.cancels.get(job)
        return cancel if cancel is not None and cancel.tenant == tenant else None

    def on_cancel(self, callback: Callable[[Cancel], None]) -> None:
        self._callbacks.append(callback)

    def forget(self, job: str) -> None:
        self.cancels.pop(job, None)

    def cancel(self, job: str, *, tenant: str = "acme", by: str | None = "ada") -> None:
        """Call a job back."""
        cancel = self.cancels[job] = Cancel(job, tenant, by, datetime.now(timezone.utc))
        for callback in self._callbacks:
            callback(cancel)


class MemoryLedger:
    """Implements `JobLedger` as one process sees it."""

    def __init__(self) -> None:
        self.ended: dict[str, JobStatus] = {}
        self.attempts: dict[str, int] = {}
        self.lost: set[str] = set()
        self.released: list[str] = []
        self.crashes: dict[str, int] = {}
        self.made: dict[str, list[int]] = {}
        self.retries_in: dict[str, list[timedelta]] = {}
        self.condemned: dict[str, tuple[str, str]] = {}
        self._told: set[str] = set()

    async def begin(
        self,
        request: VerifiedRequest | Sender,
        delivery: Delivery,
        *,
        made: int = 0,
        even_early: bool = False,
    ) -> Verdict:
        del even_early
        job = request.job
        self.made.setdefault(job, []).append(made)
        if job in self.ended:
            return AlreadyOver(self.ended[job], self.condemned.get(job))
        earlier = self.attempts.get(job, 0)
        self.attempts[job] = earlier + 1
        owner = line = f"test|{delivery.record.offset}"
        if job in self.lost:
            return LostOutcome(request.scope, job, earlier + 1, owner, line)
        had_output = bool(earlier) and job not in self._told
        crashes = self.crashes.get(job, 0)
        return Begin(request.scope, job, earlier + 1, had_output, owner, line, crashes)

    async def condemn(self, begun: Begin, *, reason: str, code: str) -> None:
        self.condemned[begun.job] = (reason, code)

    async def confirm(self, request: VerifiedRequest, begun: Begin) -> None:
        """One process only: nobody else can have taken it over."""

    async def confirm_awake(self, request: VerifiedRequest, begun: Begin) -> None:
        """It does not sleep either."""

    async def begin_again(self, begun: Begin, *, had_output: bool) -> Begin:
        self.attempts[begun.job] += 1
        attempt = self.attempts[begun.job]
        return replace(begun, attempt=attempt, had_output=begun.had_output or had_output)

    async def finish(
        self,
        begun: Begin | LostOutcome,
        status: JobStatus | None,
        *,
        retry_in: timedelta | None = None,
    ) -> None:
        if retry_in is not None:
            self._told.add(begun.job)
            self.retries_in.setdefault(begun.job, []).append(retry_in)
        if status is None:
            self.released.append(begun.job)
        else:
            self.ended.setdefault(begun.job, status)


@dataclass
class MemoryConversations:
    """Implements `Conversations`."""

    states: dict[tuple[str, str], ConversationState] = field(default_factory=dict)

    async def load(self, scope: TenantScope, conversation: str) -> ConversationState | None:
        return self.states.get((scope.tenant, conversation))

    async def append(self, scope: TenantScope, state: ConversationState) -> None:
        self.states[scope.tenant, state.conversation] = state


class FlatPrice:
    """A dollar per token for models with a price."""

    def cost(self, price: str | None, usage: Usage) -> tuple[Decimal, str] | None:
        if price is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        return Decimal(usage.input_tokens + usage.output_tokens), "flat"


@dataclass
class Rig:
    """A running worker and what surrounds it."""

    kafka: MemoryKafka
    producer: Producer
    server: FakeProvider
    board: MemoryBoard
    ledger: MemoryLedger
    conversations: MemoryConversations
    worker: Worker
    submitted: int = 0

    async def submit(
        self, *, task: str = "chat", tenant: str = "acme", key: str | None = None, **body: Any
    ) -> str:
        """Write a request as a direct producer would; the job id."""
        self.submitted += 1
        event_id = f"event-{self.submitted}"
        job = derived_job_id(tenant=tenant, source="/test", event_id=event_id)
        envelope = Envelope(
            id=event_id, source="/test", type=CE_REQUEST, tenant=tenant, user="ada",
            time=datetime.now(timezone.utc),
        )  # fmt: skip
        value = orjson.dumps({"task": task, **body})
        record = OutRecord(
            f"ai.{task}.requests.v1" if task in ("chat", "generate") else "ai.chat.requests.v1",
            (key or job).encode(),
            value,
            encode_headers(envelope),
        )
        await self.producer.send(record)
        return job

    def next_job(self, *, tenant: str = "acme") -> str:
        """The id that the next submitted job will have."""
        return derived_job_id(tenant=tenant, source="/test", event_id=f"event-{self.submitted + 1}")

    async def resend(self, record: Record) -> None:
        """Write a record again, as if it were delivered again."""
        await self.producer.send(OutRecord(record.topic, record.key, record.value, record.headers))

    def completions(self, job: str) -> list[dict[str, Any]]:
        """The job's completed events."""
        return [event for event in self.events(job) if event["type"] == "completed"]

    async def chat(self, text: str, **body: Any) -> str:
        """Submit a chat with one user message."""
        return await self.submit(input={"messages": [{"role": "user", "content": text}]}, **body)

    def events(self, job: str) -> list[dict[str, Any]]:
        """The job's events so far."""
        return [
            orjson.loads(record.value)
            for record in self.kafka.records("ai.jobs.events.v1")
            if record.key == job.encode() and record.value
        ]

    def dead(self) -> list[dict[str, str]]:
        """Headers of the dead letters."""
        return [
            {name: value.decode() for name, value in record.headers}
            for record in self.kafka.records("ai.dead.v1")
        ]

    async def until(self, fact: Callable[[], bool], *, within_s: float = 20) -> None:
        """Wait for a fact."""
        await eventually(fact, within_s=within_s)

    async def ended(self, job: str, *, within_s: float = 20) -> list[dict[str, Any]]:
        """The job's events once it has ended and was let go."""
        await self.until(
            lambda: any(event["type"] in TERMINAL for event in self.events(job)), within_s=within_s
        )
        return self.events(job)


async def eventually(fact: Callable[[], Any], *, within_s: float = 20) -> None:
    """Return once the fact holds."""
    async with asyncio.timeout(within_s):
        while not fact():  # noqa: ASYNC110 - the fact lies in another thread or connection
            await asyncio.sleep(0.002)


@asynccontextmanager
async def llm_rig(
    folder: Path,
    *,
    templates: dict[str, str] | None = None,
    tasks: dict[str, TaskType] | None = None,
    retry: RetryPolicy | None = None,
    max_in_flight: int = 64,
    policy: LanePolicy | None = None,
    own: LlmWorkerGroup | None = None,
    **provider: Any,
) -> AsyncIterator[Rig]:
    """A worker that runs until the block ends."""
    server = FakeProvider(defaults=Script(ttft_ms=1, rate=0, tokens=5))
    await server.start()
    catalog = Providers.model_validate(
        {
            "providers": {"fake": {"base_url": server.base_url, **provider}},
            "models": {
                "fake": {"provider": "fake", "upstream": "fake", "price": "flat/fake"},
                "free": {"provider": "fake", "upstream": "fake"},
                "second": {"provider": "fake", "upstream": "second", "price": "flat/second"},
                "chained": {
                    "provider": "fake",
                    "upstream": "fake:status=401",
                    "fallback": ["second"],
                },
                **{
                    f"json-{mode}": {"provider": "fake", "upstream": f"fake:json={mode}"}
                    for mode in ("valid", "fenced", "invalid", "mismatch", "second")
                },
                "tiny": {"provider": "fake", "upstream": "fake", "context_tokens": 40},
            },
            "default_model": "fake",
        }
    )
    all_tasks = TaskCatalog(
        tasks
        or {name: _task(name, retry) for name in ("chat", "generate", "embed", "conversation")}
    )
    kafka = MemoryKafka(all_tasks.topics(), partitions=2)
    board, ledger, conversations = MemoryBoard(), MemoryLedger(), MemoryConversations()
    providers = {name: OpenAIProvider(name, entry) for name, entry in catalog.providers.items()}
    around = Surroundings(
        consumer=kafka.consumer("llm-worker"),
        producer=kafka.producer(),
        blobs=BlobStore(BlobSettings(url=f"file://{folder}/blobs")),
        board=board,
        ledger=ledger,
        intake=Intake(tasks=all_tasks, ids=JobIds(b"s" * 32), secrets=None),
        conversations=conversations,
        providers=providers,
        catalog=catalog,
        prices=FlatPrice(),
        templates=Templates(templates or {}),
        tasks=all_tasks,
        clock=SystemClock(),
        metrics=Metrics(),
        instance="worker-1",
        retries=RetryTopics(TIERS),
    )
    faults: list[Fatal] = []
    worker = build_worker(
        around,
        own or LlmWorkerGroup(),
        policy or LanePolicy(max_in_flight=max_in_flight),
        on_fatal=faults.append,
    )
    await around.producer.start()
    await worker.withdrawals.start()
    await worker.lanes.start()
    try:
        yield Rig(kafka, around.producer, server, board, ledger, conversations, worker)
    finally:
        worker.drain()
        await worker.lanes.stop()
        await worker.withdrawals.stop()
        await around.producer.stop()
        for entry in providers.values():
            await entry.close()
        await server.stop()
    assert not faults


def _task(name: str, retry: RetryPolicy | None) -> TaskType:
    topic = "ai.chat.requests.v1" if name == "conversation" else None
    return TaskType.model_validate({"kind": name, "topic": topic, "retry": retry or RetryPolicy()})
