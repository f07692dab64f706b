"""The process as it is deployed: `python -m llm_worker` on real Kafka and Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import psutil
import pytest
from penstock_contracts.catalog import CE_REQUEST
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.events import TERMINAL
from penstock_contracts.ids import derived_job_id
from penstock_kit.control import cancel_record
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import Headers, OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import KafkaSettings, RedisSettings
from penstock_kit.tail.table import TopicTable
from penstock_kit.tasks import TaskCatalog
from pydantic import SecretStr

from tests.support.fake_provider.script import Script
from tests.support.fake_provider.server import FakeProvider
from tests.support.llm_worker_rig import eventually
from tests.support.whole_table import declare_whole

MAX_IDLE_MB = 120
START_S = 60
"""How long a start may take while every core is taken; alone it is three seconds."""

pytestmark = pytest.mark.timeout(400)


@dataclass
class Deployed:
    """A running process and what a client sees of it."""

    process: asyncio.subprocess.Process
    producer: KafkaProducer
    server: FakeProvider
    events: dict[str, list[dict[str, Any]]]
    tenant: str

    async def chat(self, text: str, **body: Any) -> str:
        """Write a request as a direct producer; the job id."""
        event_id = uuid4().hex
        job = derived_job_id(tenant=self.tenant, source="/test", event_id=event_id)
        envelope = Envelope(
            id=event_id,
            source="/test",
            type=CE_REQUEST,
            tenant=self.tenant,
            time=datetime.now(timezone.utc),
        )
        value = {"task": "chat", "input": {"messages": [{"role": "user", "content": text}]}}
        key = body.get("conversation") or job
        await self.producer.send(
            OutRecord(
                "ai.chat.requests.v1",
                key.encode(),
                orjson.dumps({**value, **body}),
                encode_headers(envelope),
            )
        )
        return job

    async def ended(self, job: str, *, within_s: float = 30) -> list[dict[str, Any]]:
        """The job's events once it has ended."""
        await eventually(
            lambda: any(e["type"] in TERMINAL for e in self.events.get(job, ())),
            within_s=within_s,
        )
        return self.events[job]


@pytest.fixture(name="deploy")
async def deploy_fixture(
    kafka_bootstrap: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Deployed]]]:
    async with _surroundings(kafka_bootstrap, redis_url, tmp_path) as start:
        yield start


@asynccontextmanager
async def _surroundings(
    bootstrap: str, redis_url: str, folder: Path
) -> AsyncIterator[Callable[..., Awaitable[Deployed]]]:
    settings = KafkaSettings(bootstrap=bootstrap)
    await _mark_table_complete(redis_url)
    await ensure_topics(settings, TaskCatalog.builtin().topics(), partitions=2)
    server = FakeProvider(defaults=Script(ttft_ms=1, rate=0, tokens=5))
    await server.start()
    producer = KafkaProducer(settings)
    await producer.start()
    events: dict[str, list[dict[str, Any]]] = {}

    def on_event(key: str, value: bytes | None, headers: Headers) -> None:
        del headers
        if value:
            events.setdefault(key, []).append(orjson.loads(value))

    tail = TopicTable(settings, "ai.jobs.events.v1", on_event)
    await tail.start()
    running: list[asyncio.subprocess.Process] = []
    environ = _environ(bootstrap, redis_url, folder, server.base_url)

    async def start(**settings: str) -> Deployed:
        with (folder / "worker.log").open("ab") as worker_log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "llm_worker", env=environ | settings, stderr=worker_log
            )
        running.append(process)
        return Deployed(process, producer, server, events, f"tenant-{uuid4().hex[:8]}")

    try:
        yield start
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await tail.stop()
        await producer.stop()
        await server.stop()


async def _mark_table_complete(redis_url: str) -> None:
    """What the recorder does; without it a job that may have begun before waits."""
    redis = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="tests")
    await declare_whole(redis)
    await redis.aclose()


def _environ(bootstrap: str, redis_url: str, folder: Path, base_url: str) -> dict[str, str]:
    providers = folder / "providers.yaml"
    providers.write_text(
        f"providers: {{fake: {{base_url: '{base_url}'}}}}\n"
        "models: {fake: {provider: fake, upstream: fake, price: openai/gpt-4o-mini}}\n"
        "default_model: fake\n"
    )
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
        "PENSTOCK_KAFKA__BOOTSTRAP": bootstrap,
        "PENSTOCK_REDIS__URL": redis_url,
        "PENSTOCK_BLOBS__URL": f"file://{folder}/blobs",
        "PENSTOCK_AUTH__ID_SECRET": "x" * 32,
        "PENSTOCK_AUTH__VERIFY_PRODUCERS": "false",
        "PENSTOCK_ADMIN__PORT": "0",
        "PENSTOCK_PROVIDERS_FILE": str(providers),
        "PENSTOCK_LLM_WORKER__GROUP": "llm-worker",
    }


async def test_process_runs_jobs_remembers_turns_cancels_and_drains(
    deploy: Callable[..., Awaitable[Deployed]],
) -> None:
    worker = await deploy()
    first = await worker.ended(await worker.chat("hello", conversation="c1"), within_s=START_S)
    memory_mb = psutil.Process(worker.process.pid).memory_info().rss / 2**20
    second = await worker.ended(await worker.chat("again", conversation="c1"))
    job = await worker.chat("go [[tokens=10000;rate=100]]")
    await eventually(lambda: len(worker.events.get(job, ())) > 3)
    asked_at = datetime.now(timezone.utc)
    await worker.producer.send(cancel_record(job, tenant=worker.tenant, by=None, now=asked_at))
    cancelled = await worker.ended(job)
    last = await worker.chat("go [[tokens=50;rate=100]]")
    await eventually(lambda: last in worker.events)
    worker.process.send_signal(signal.SIGTERM)
    status = await asyncio.wait_for(worker.process.wait(), 30)
    drained = await worker.ended(last)

    assert first[-1]["usage"]["cost_usd"] == "0.0000033"
    assert second[-1]["usage"]["input_tokens"] > first[-1]["usage"]["input_tokens"]
    assert cancelled[-1]["type"] == "cancelled"
    aborted = next(line for line in worker.server.journal.lines if line.get("how") == "aborted")
    assert aborted["at"] - asked_at.timestamp() < 0.25
    assert drained[-1]["type"] == "completed"
    assert status == 0
    assert memory_mb <= MAX_IDLE_MB, f"{memory_mb:.0f} MB"


async def test_killed_process_is_followed_by_one_that_ends_the_job(
    deploy: Callable[..., Awaitable[Deployed]],
) -> None:
    worker = await deploy()
    job = await worker.chat("go [[tokens=200;rate=100]]")
    await eventually(lambda: len(worker.events.get(job, ())) > 3, within_s=START_S)
    worker.process.kill()
    await worker.process.wait()

    await deploy()
    events = await worker.ended(job, within_s=START_S)

    assert events[-1]["type"] == "completed"
    assert [event["type"] for event in events].count("completed") == 1
    assert any(event["type"] == "reset" for event in events)
    assert worker.server.journal.calls == 2


async def test_process_that_outlives_its_drain_cuts_its_call_and_lets_the_job_go(
    deploy: Callable[..., Awaitable[Deployed]],
) -> None:
    """No crash: else three deploys in the middle of a long call would make it poison."""
    worker = await deploy(PENSTOCK_DRAIN_TIMEOUT="PT6S", PENSTOCK_KAFKA__DELIVERY_TIMEOUT="PT5S")
    job = await worker.chat("go [[hang=4;times=1]]")
    await eventually(lambda: len(worker.events.get(job, ())) > 1, within_s=START_S)
    worker.process.send_signal(signal.SIGTERM)
    status = await asyncio.wait_for(worker.process.wait(), 30)

    await deploy()
    events = await worker.ended(job, within_s=START_S)

    assert status == 1
    again = [event for event in events if event["type"] == "started"][-1]
    assert (again["attempt"], again.get("crashes")) == (2, None)
    assert events[-1]["type"] == "completed"
