"""A worker that sleeps for three session time-outs in mid-call, and wakes up behind the fence."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition
from penstock_contracts.catalog import CE_REQUEST
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.events import TERMINAL, JobStatus
from penstock_contracts.ids import derived_job_id
from penstock_contracts.snapshot import Snapshot
from penstock_kit.clock import SystemClock
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import Ack, Headers, OutRecord
from penstock_kit.settings import KafkaSettings
from penstock_kit.streams.assembler import StreamAssembler, Taken
from penstock_kit.streams.joining import JobStreams
from penstock_kit.tail.events import EventTail
from penstock_kit.tail.settings import TailSettings
from penstock_kit.tail.table import TopicTable
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.tasks import load_tasks
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.tenancy import TenantScope

from tests.support.fake_provider.script import Script
from tests.support.fake_provider.server import FakeProvider
from tests.support.job_records import IDS
from tests.support.llm_worker_rig import eventually
from tests.support.recorder import Ground, running_ground, running_recorder
from tests.support.redis_server import native_redis

SESSION = timedelta(seconds=6)
"""The shortest that a broker takes."""
LEASE_S = 4
START_S = 90

pytestmark = pytest.mark.timeout(400)


@dataclass
class World:
    """Two workers of one group, a recorder, and what the log holds."""

    ground: Ground
    server: FakeProvider
    task: str
    environ: dict[str, str]
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    async def start_worker(self, stack: AsyncExitStack, name: str) -> asyncio.subprocess.Process:
        """`python -m llm_worker`; killed at the end of the test."""
        log = stack.enter_context((self.ground.folder / f"{name}.log").open("ab"))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llm_worker",
            env=self.environ | {"PENSTOCK_INSTANCE": name},
            stderr=log,
        )
        stack.push_async_callback(_kill, process)
        return process

    async def chat(self, tenant: str, text: str) -> tuple[str, Ack]:
        """Write a request as a direct producer; the job id, and where the record is."""
        event_id = uuid4().hex
        job = derived_job_id(tenant=tenant, source="/test", event_id=event_id)
        envelope = Envelope(
            id=event_id,
            source="/test",
            type=CE_REQUEST,
            tenant=tenant,
            time=datetime.now(timezone.utc),
        )
        body = {"task": self.task, "input": {"messages": [{"role": "user", "content": text}]}}
        topic = f"ai.{self.task}.requests.v1"
        value = orjson.dumps(body)
        record = OutRecord(topic, job.encode(), value, encode_headers(envelope))
        return job, await self.ground.producer.send(record)

    def of(self, job: str, *, attempt: int) -> list[str]:
        """The types of events that the log holds of an attempt, in order."""
        return [event["type"] for event in self.events.get(job, ()) if event["attempt"] == attempt]

    def committed(self, ack: Ack) -> int:
        """What the group has committed in the partition of a record."""
        place = TopicPartition(ack.topic, ack.partition)
        client = Consumer({"bootstrap.servers": self.ground.kafka.bootstrap, "group.id": self.task})
        try:
            return int(client.committed([place], timeout=10)[0].offset)
        finally:
            client.close()


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.fixture(name="world")
async def world_fixture(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[World]:
    async with _world(KafkaSettings(bootstrap=kafka_bootstrap), tmp_path) as world:
        yield world


@asynccontextmanager
async def _world(kafka: KafkaSettings, folder: Path) -> AsyncIterator[World]:
    task = f"zombie{uuid4().hex[:8]}"
    tasks_file = folder / "tasks.yaml"
    tasks_file.write_text(f"tasks: {{{task}: {{kind: chat, group: {task}}}}}\n")
    await ensure_topics(kafka, load_tasks(tasks_file).topics(), partitions=1)
    server = FakeProvider(defaults=Script(ttft_ms=1, rate=0, tokens=5))
    await server.start()
    with native_redis(folder) as redis_url:
        async with running_ground(kafka, redis_url, folder) as ground:
            environ = _environ(ground, tasks_file, server.base_url, group=task)
            world = World(ground, server, task, environ)
            tail = TopicTable(kafka, "ai.jobs.events.v1", _into(world.events))
            await tail.start()
            async with running_recorder(ground):
                yield world
            await tail.stop()
    await server.stop()


def _into(events: dict[str, list[dict[str, Any]]]) -> Any:
    def on_event(key: str, value: bytes | None, _headers: Headers) -> None:
        if value:
            events.setdefault(key, []).append(orjson.loads(value))

    return on_event


def _environ(ground: Ground, tasks_file: Path, base_url: str, *, group: str) -> dict[str, str]:
    providers = ground.folder / "providers.yaml"
    providers.write_text(
        f"providers: {{fake: {{base_url: '{base_url}'}}}}\n"
        "models: {fake: {provider: fake, upstream: fake, price: openai/gpt-4o-mini}}\n"
        "default_model: fake\n"
    )
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
        "PENSTOCK_KAFKA__BOOTSTRAP": ground.kafka.bootstrap,
        "PENSTOCK_KAFKA__SESSION_TIMEOUT": str(int(SESSION.total_seconds())),
        "PENSTOCK_REDIS__URL": ground.redis_url,
        "PENSTOCK_REDIS__LEASE": str(LEASE_S),
        "PENSTOCK_BLOBS__URL": f"file://{ground.folder}/blobs",
        "PENSTOCK_AUTH__ID_SECRET": IDS.secret.decode(),
        "PENSTOCK_AUTH__VERIFY_PRODUCERS": "false",
        "PENSTOCK_ADMIN__PORT": "0",
        "PENSTOCK_TASKS_FILE": str(tasks_file),
        "PENSTOCK_PROVIDERS_FILE": str(providers),
        "PENSTOCK_LLM_WORKER__GROUP": group,
    }


class Watcher:
    """A client that follows the job live, as gateway and notifier let it."""

    def __init__(self) -> None:
        self.state = StreamAssembler()
        self.refused: list[Taken] = []

    def take(self, item: TailedEvent | Snapshot) -> None:
        if isinstance(item, Snapshot):
            self.state.apply_snapshot(item.model_dump(mode="json"))
        elif (taken := self.state.apply_event(orjson.loads(item.value))) is not Taken.APPLIED:
            self.refused.append(taken)


@asynccontextmanager
async def watching(world: World, scope: TenantScope, job: str) -> AsyncIterator[Watcher]:
    """Joined to the job's stream on a tail of its own."""
    clock = SystemClock()
    tail = EventTail(world.ground.kafka, TailSettings(), clock=clock, metrics=Metrics())
    await tail.start()
    watcher = Watcher()
    joined = await JobStreams(tail, world.ground.table).join(scope, job, None, watcher.take)
    if joined.snapshot is not None:
        watcher.take(joined.snapshot)
    for event in joined.backlog:
        watcher.take(event)
    try:
        yield watcher
    finally:
        joined.close()
        await tail.stop()


async def test_worker_that_slept_and_woke_up_cannot_end_what_another_has_begun(
    world: World,
) -> None:
    tenant = f"tenant-{uuid4().hex[:8]}"
    scope = TenantScope(tenant)
    async with AsyncExitStack() as stack:
        sleeper = await world.start_worker(stack, "sleeper")
        job, record = await world.chat(tenant, "go [[tokens=200;rate=10]]")
        await eventually(lambda: len(world.of(job, attempt=1)) > 3, within_s=START_S)
        watcher = await stack.enter_async_context(watching(world, scope, job))
        second = await world.start_worker(stack, "second")

        sleeper.send_signal(signal.SIGSTOP)
        await asyncio.sleep(3 * SESSION.total_seconds())  # what is promised is about this time
        await eventually(lambda: "delta" in world.of(job, attempt=2), within_s=START_S)
        assert not TERMINAL & set(world.of(job, attempt=2)), "the second was to be in mid-call"
        sleeper.send_signal(signal.SIGCONT)
        await eventually(lambda: "completed" in world.of(job, attempt=1), within_s=START_S)
        between = await world.ground.table.get(scope, job)
        text_between = watcher.state.text()
        committed_between = await asyncio.to_thread(world.committed, record)
        await eventually(lambda: "completed" in world.of(job, attempt=2), within_s=START_S)
        await world.ground.until(tenant, job, JobStatus.COMPLETED)
        await eventually(lambda: watcher.state.is_over)
        state = await RedisJobTable(world.ground.redis).get(scope, job)

        assert sleeper.returncode is None
        assert second.returncode is None
    stale = next(e for e in world.events[job] if e["attempt"] == 1 and e["type"] == "completed")
    fresh = next(e for e in world.events[job] if e["attempt"] == 2 and e["type"] == "completed")
    assert world.events[job].index(stale) < world.events[job].index(fresh)
    assert between is not None
    assert between.status is JobStatus.RUNNING
    assert text_between, "the watcher follows the second attempt"
    assert fresh["output"]["choices"][0]["text"].startswith(text_between)
    assert committed_between <= record.offset
    assert state is not None
    assert (state.status, state.attempt) == (JobStatus.COMPLETED, 2)
    assert state.superseded is not None
    assert state.superseded.count == 1
    assert str(state.superseded.usage.cost_usd) == stale["usage"]["cost_usd"]
    assert watcher.refused == []
    assert watcher.state.position == (2, fresh["seq"])
    assert world.server.journal.calls == 2
