from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from penstock.dev.ports import PortPicker
from penstock_contracts.control import CancelJob, ControlAdapter
from penstock_contracts.credentials import Scope
from penstock_contracts.ids import JobIds, new_uuid7
from penstock_contracts.topics import FIXED_TOPICS
from penstock_kit.auth.api_keys import make_api_key
from penstock_kit.auth.principal import Principal
from penstock_kit.auth.table import credential_record
from penstock_kit.auth.tickets import Tickets
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import KafkaSettings, RedisSettings
from penstock_kit.tail.table import TopicTable
from pydantic import SecretStr
from websockets.asyncio.client import connect

from tests.support.events import an_event, as_record
from tests.support.sockets import PROTOCOL, Client

SECRET = "a secret of tests, 32 bytes or more"


class Running:
    """A notifier as a process of its own, on a real Kafka and a real Redis."""

    def __init__(self, kafka: KafkaSettings, redis_url: str, log: Path) -> None:
        self.kafka = kafka
        self.redis_url = redis_url
        self.log = log
        self.producer = KafkaProducer(kafka)
        self.tenant = f"t{uuid4().hex[:8]}"
        now = datetime.now(timezone.utc)
        key = make_api_key(tenant=self.tenant, user="ann", scope=Scope.USER, name="test", now=now)
        self.key = key
        self.job = JobIds(SECRET.encode()).issue(
            tenant=self.tenant,
            uuid=new_uuid7(now_ms=int(time.time() * 1000), randomness=os.urandom(10)),
        )
        self.port = PortPicker().pick()
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        await ensure_topics(self.kafka, FIXED_TOPICS, partitions=2)
        await self.producer.start()
        await self.producer.send(
            credential_record(
                self.key.record,
                source="test",
                now=datetime.now(timezone.utc),
                event_id=uuid4().hex,
            )
        )
        with self.log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "notifier", env=self.environment(), stdout=log, stderr=log
            )
        async with asyncio.timeout(60):
            while b"service.started" not in self.log.read_bytes():
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PENSTOCK_KAFKA__BOOTSTRAP": self.kafka.bootstrap,
            "PENSTOCK_REDIS__URL": self.redis_url,
            "PENSTOCK_BLOBS__URL": self.log.parent.as_uri(),
            "PENSTOCK_AUTH__ID_SECRET": SECRET,
            "PENSTOCK_ADMIN__PORT": "0",
            "PENSTOCK_NOTIFIER__PORT": str(self.port),
        }

    async def write(self, *places: tuple[str, str, str]) -> None:
        for kind, place, text in places:
            event = an_event(kind, place, job=self.job, tenant=self.tenant, user="ann", text=text)
            await self.producer.send(as_record(event))

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self.producer.stop()

    @asynccontextmanager
    async def client(self, query: str = "") -> AsyncIterator[Client]:
        headers = {} if query else {"Authorization": f"Bearer {self.key.token}"}
        url = f"ws://127.0.0.1:{self.port}/v1/socket{query}"
        async with connect(
            url, subprotocols=[PROTOCOL], additional_headers=headers, compression=None
        ) as connection:
            yield Client(connection)


@pytest.fixture
async def running(kafka_bootstrap: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    found = Running(KafkaSettings(bootstrap=kafka_bootstrap), redis_url, tmp_path / "log.txt")
    try:
        await found.start()
        yield found
    finally:
        await found.end()


async def test_process_when_used_then_streams_resumes_cancels_and_drains(
    running: Running,
) -> None:
    async with running.client() as client:
        ready = await client.hear()
        await client.say(type="subscribe", job=running.job)
        assert [(await client.hear())["type"] for _ in range(2)] == ["subscribed", "snapshot"]
        await running.write(("queued", "0-1", ""), ("started", "1-1", ""), ("delta", "1-2", "a"))
        events = await client.hear_all_of("event", count=3)
    await running.write(("delta", "1-3", "b"))

    redis = connect_redis(RedisSettings(url=SecretStr(running.redis_url)), name="test")
    principal = Principal(running.tenant, "ann", Scope.USER, running.key.record.id)
    ticket = await Tickets(redis).issue(principal)
    await redis.aclose()
    async with running.client(f"?ticket={ticket}") as client:
        assert (await client.hear())["type"] == "ready"
        await client.say(type="subscribe", job=running.job, position={"attempt": 1, "seq": 2})
        resumed = await client.hear()
        missed = await client.hear()
        await client.say(type="cancel", job=running.job)
        cancelling = await client.hear()
        assert running.process is not None
        resident = psutil.Process(running.process.pid).memory_info().rss
        running.process.send_signal(signal.SIGTERM)
        code, reason = await client.closed()

    assert ready["tenant"] == running.tenant
    assert [event["event"]["type"] for event in events] == ["queued", "started", "delta"]
    assert resumed["recovered"] is True
    assert missed["seq"] == 3
    assert cancelling == {"type": "cancelling", "job": running.job}
    assert (code, set(json.loads(reason or ""))) == (1012, {"resume_after_ms", "reason"})
    assert await running.process.wait() == 0
    assert resident < 120 * 1024 * 1024
    text = running.log.read_text()
    for secret in (running.key.token, ticket, SECRET):
        assert secret not in text
    assert await cancel_of(running) == running.job


async def cancel_of(running: Running) -> str | None:
    """The job of the cancel that is in the log."""
    found: list[CancelJob] = []

    def see(key: str, value: bytes | None, headers: object) -> None:
        del headers
        if value is not None and key == f"cancel:{running.job}":
            record = ControlAdapter.validate_json(value)
            assert isinstance(record, CancelJob)
            found.append(record)

    table = TopicTable(running.kafka, "ai.control.v1", see)
    await table.start()
    await table.stop()
    return found[0].job if found else None
