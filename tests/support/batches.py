"""A gateway that runs batches over parts in memory, and a worker that answers their lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.openai.batches.handler import BatchHandler
from gateway.openai.batches.wiring import BatchRunning
from penstock_contracts.batches import BatchEventAdapter
from penstock_contracts.events import Completed, Failed, JobEvent, JobStatus, Started
from penstock_contracts.parts import ChatOutput, Choice, JobError, Usage
from penstock_contracts.state import JobState
from penstock_contracts.topics import BATCH_EVENTS, BATCH_REQUESTS, CONTROL
from penstock_kit.batches.events import KeptEvent
from penstock_kit.batches.lease import BatchHeld, Confirm
from penstock_kit.batches.memory import MemoryBatchEvents
from penstock_kit.batches.shelf import Shelf
from penstock_kit.control import Cancel
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.tenancy import TenantScope

from tests.support.gateway import GatewayBench, Reply

__all__ = [
    "LOW",
    "BatchBench",
    "chat_line",
    "completed",
    "delivery",
    "failed",
    "form",
    "jsonl",
    "look_together",
]

LOW = "ai.chat.requests.v1.low"


def form(data: bytes, *, filename: str = "lines.jsonl", **fields: str) -> tuple[bytes, str]:
    """A multipart form with a file, and its content type."""
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in ({"purpose": "batch"} | fields).items()
    ]
    head = f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    return b"".join([*parts, head.encode(), data, b"\r\n--cut--\r\n"]), (
        "multipart/form-data; boundary=cut"
    )


def chat_line(custom_id: str, text: str = "hello", **body: Any) -> dict[str, Any]:
    """One line of an input file."""
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": [{"role": "user", "content": text}], **body},
    }


def look_together(shelf: Shelf) -> None:
    """The next two looks at this shelf end together, as those of two gateways may."""
    look, both, left = shelf.get, asyncio.Barrier(2), [1, 2]

    async def get(scope: TenantScope, record_id: str) -> bytes | None:
        value = await look(scope, record_id)
        if left:
            left.pop()
            await both.wait()
        return value

    shelf.get = get  # type: ignore[method-assign]


def jsonl(*lines: Any) -> bytes:
    """Lines of a file; what is text already goes in as it is."""
    return b"".join(
        (line if isinstance(line, str) else json.dumps(line)).encode() + b"\n" for line in lines
    )


class _Leases:
    def __init__(self) -> None:
        self.held: set[str] = set()
        self.is_taken = False
        """Somebody else has taken all over, as after a freeze."""

    @asynccontextmanager
    async def hold(
        self, scope: TenantScope, batch: str, *, on_lost: Callable[[], None]
    ) -> AsyncIterator[Confirm]:
        del scope, on_lost
        if batch in self.held:
            raise BatchHeld("held")
        self.held.add(batch)
        try:
            yield self._confirm
        finally:
            self.held.discard(batch)

    async def _confirm(self) -> None:
        if self.is_taken:
            raise BatchHeld("taken")


@dataclass
class _Cancels:
    asked: set[str] = field(default_factory=set)
    callbacks: list[Callable[[Cancel], None]] = field(default_factory=list)

    def is_cancelled(self, job: str, tenant: str) -> bool:
        del tenant
        return job in self.asked

    def on_cancel(self, callback: Callable[[Cancel], None]) -> None:
        self.callbacks.append(callback)

    def forget(self, job: str) -> None:
        self.asked.discard(job)


@dataclass
class _Folded:
    is_behind: bool = False
    """The recorder has not read what the log holds."""
    looks: int = 0

    async def covers(self, since: float) -> bool:
        del since
        self.looks += 1
        return not self.is_behind


class BatchBench:
    """Runs what the gateway has written, like lanes and a recorder would."""

    def __init__(self, bench: GatewayBench) -> None:
        self.gateway = bench
        self.leases = _Leases()
        self.cancels = _Cancels()
        self.folded = _Folded()
        self.handler = self.new_handler()
        self.answered: list[str] = []

    def new_handler(self) -> BatchHandler:
        """What runs batches in one more gateway."""
        running = BatchRunning(leases=self.leases, cancels=self.cancels, folded=self.folded)
        return self.gateway.inside.batch_handlers[0](running)

    async def upload(self, data: bytes, **fields: str) -> str:
        """The id of a new file."""
        body, kind = form(data, **fields)
        reply = await self.gateway.call("POST", "/v1/files", body, headers={"content-type": kind})
        assert reply.status == 200, reply.body
        return str(reply.json["id"])

    async def create(self, file_id: str, **body: Any) -> Reply:
        """Ask for a batch."""
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        } | body
        return await self.gateway.call("POST", "/v1/batches", asked)

    async def batch(self, *lines: Any) -> str:
        """The id of a new batch over these lines."""
        reply = await self.create(await self.upload(jsonl(*lines)))
        assert reply.status == 200, reply.body
        return str(reply.json["id"])

    async def run(self, handler: BatchHandler | None = None) -> None:
        """Handle the newest request to its end."""
        record = self.gateway.kafka.records(BATCH_REQUESTS.name)[-1]
        async with asyncio.timeout(20):
            await (handler or self.handler)(delivery(record))

    async def look(self, batch: str) -> dict[str, Any]:
        """The batch as its owner sees it."""
        reply = await self.gateway.call("GET", f"/v1/batches/{batch}")
        assert reply.status == 200, reply.body
        found: dict[str, Any] = reply.json
        return found

    async def content(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a file; none where there is no file."""
        if file_id is None:
            return []
        reply = await self.gateway.call("GET", f"/v1/files/{file_id}/content")
        assert reply.status == 200, reply.body
        return [json.loads(line) for line in reply.body.splitlines()]

    def events(self) -> list[Any]:
        """Every event of batches so far."""
        return [
            BatchEventAdapter.validate_json(record.value or b"")
            for record in self.gateway.kafka.records(BATCH_EVENTS.name)
        ]

    async def fold_events(self) -> None:
        """Let the recorder read the events of batches."""
        events = self.gateway.stores.events
        assert isinstance(events, MemoryBatchEvents)
        for record in self.gateway.kafka.records(BATCH_EVENTS.name):
            event = BatchEventAdapter.validate_json(record.value or b"")
            kept = KeptEvent(event.sequence_number, event.type, record.value or b"")
            await events.keep([(TenantScope("acme"), event.batch, kept)])

    @asynccontextmanager
    async def worker(
        self, answer: Callable[[str, str], list[JobEvent]] | None = None
    ) -> AsyncIterator[None]:
        """Answers every line that was written, while this is open."""
        task = asyncio.create_task(self._answer_for_ever(answer or completed))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def until_written(self, count: int) -> list[str]:
        """The jobs of the lines, once there are so many."""
        async with asyncio.timeout(10):
            while len(jobs := self.written()) < count:  # noqa: ASYNC110 - a broker in memory has no event for its tests
                await asyncio.sleep(0)
        return jobs

    def written(self) -> list[str]:
        """The jobs of all lines that were written."""
        return [
            dict(record.headers)["ce_id"].decode() for record in self.gateway.kafka.records(LOW)
        ]

    def cancels_written(self) -> list[str]:
        """What was called back."""
        return [(record.key or b"").decode() for record in self.gateway.kafka.records(CONTROL.name)]

    def feed(self, *events: JobEvent) -> None:
        """Let the tail and the recorder read events of jobs."""
        for event in events:
            done = isinstance(event, Completed)
            self.gateway.table.states[event.job] = JobState(
                job=event.job,
                tenant="acme",
                user="ann",
                status=JobStatus.COMPLETED if done else JobStatus.RUNNING,
                output=event.output if isinstance(event, Completed) else None,
            )
            self.gateway.feed(event)

    async def _answer_for_ever(self, answer: Callable[[str, str], list[JobEvent]]) -> None:
        seen = 0
        while True:
            records = self.gateway.kafka.records(LOW)
            for record in sorted(records, key=_written_at)[seen:]:
                seen += 1
                job = dict(record.headers)["ce_id"].decode()
                value = json.loads(record.value or b"")
                self.answered.append(job)
                self.feed(*answer(job, value["input"]["messages"][-1]["content"]))
            await asyncio.sleep(0)


def _written_at(record: Record) -> tuple[int, int, int]:
    return (record.timestamp_ms, record.partition, record.offset)


def delivery(record: Record) -> Delivery:
    """A record on its way to a handler."""
    return Delivery(record, epoch=1, is_suspect=False)


def completed(job: str, text: str) -> list[JobEvent]:
    """What a worker tells that has an answer."""
    choice = Choice(index=0, text=f"re: {text}", finish_reason="stop")
    at = "2026-11-21T12:00:00Z"
    return [
        Started(job=job, attempt=1, seq=1, at=at, task="chat", worker="w"),
        Completed(
            job=job,
            attempt=1,
            seq=2,
            at=at,
            output=ChatOutput(choices=[choice]),
            model="m",
            usage=Usage(input_tokens=3, output_tokens=2),
        ),
    ]


def failed(job: str, text: str) -> list[JobEvent]:
    """What a worker tells that was refused by its provider."""
    del text
    at = "2026-11-21T12:00:00Z"
    error = JobError(
        type="invalid_request_error",
        code="context_length_exceeded",
        message="too long",
        provider_status=400,
    )
    return [
        Started(job=job, attempt=1, seq=1, at=at, task="chat", worker="w"),
        Failed(job=job, attempt=1, seq=2, at=at, error=error),
    ]
