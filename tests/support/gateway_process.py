"""A gateway as a real process on real Kafka and Redis, and a hand-driven worker beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

import httpx2
from penstock.dev.ports import LOOPBACK, PortPicker
from penstock_contracts.catalog import ce_event_type
from penstock_contracts.credentials import Scope
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.events import JobEvent
from penstock_contracts.topics import EVENTS
from penstock_kit.auth.api_keys import make_api_key
from penstock_kit.auth.table import credential_record
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import KafkaSettings, RedisSettings
from penstock_kit.tasks import TaskCatalog
from pydantic import SecretStr

from tests.support.redis_server import native_redis

__all__ = ["GatewayProcess", "running_gateway", "whole_redis"]

ID_SECRET = "0123456789abcdef" * 4

_LIMITS = "backlog: {tenant: 10000000, total: 10000000}"
"""A shared broker may hold many jobs of tests that nobody runs."""


@dataclass
class GatewayProcess:
    """A running gateway; `tenant` is this one's own."""

    url: str
    admin_url: str
    tenant: str
    key: str
    producer: KafkaProducer
    process: asyncio.subprocess.Process

    def client(self, *, key: str | None = None) -> httpx2.AsyncClient:
        """An HTTP client with the credential."""
        headers = {"authorization": f"Bearer {self.key if key is None else key}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30)

    async def new_key(self, *, tenant: str, user: str, scope: Scope = Scope.USER) -> str:
        """A key that lies in the credentials topic."""
        now = datetime.now(timezone.utc)
        made = make_api_key(tenant=tenant, user=user, scope=scope, now=now)
        record = credential_record(made.record, source="/test", now=now, event_id=uuid4().hex)
        await self.producer.send(record)
        return made.token

    async def write(self, event: JobEvent) -> None:
        """Write a job event as a worker does."""
        envelope = Envelope(
            id=f"{event.job}:{event.position}",
            source="/test",
            type=ce_event_type(event.type),
            subject=event.job,
            tenant=self.tenant,
            user="ann",
            attempt=event.attempt,
            seq=event.seq,
        )
        await self.producer.send(
            OutRecord(
                topic=EVENTS.name,
                key=event.job.encode(),
                value=event.model_dump_json(exclude_none=True).encode(),
                headers=encode_headers(envelope),
            )
        )

    async def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)


@contextmanager
def whole_redis(folder: Path) -> Iterator[str]:
    """A Redis of one's own whose job table counts as whole, as after a recorder's first look."""
    with native_redis(folder) as url:
        asyncio.run(_declare_whole(url))
        yield url


async def _declare_whole(url: str) -> None:
    redis = connect_redis(RedisSettings(url=SecretStr(url)), name="test")
    await redis.set(EPOCH_KEY, "test")
    await redis.aclose()


@asynccontextmanager
async def running_gateway(
    folder: Path, *, kafka_bootstrap: str, redis_url: str, **extra: str
) -> AsyncIterator[GatewayProcess]:
    """A ready gateway with topics and a key of user ann; killed at the end if it still runs."""
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(kafka, TaskCatalog.builtin().topics(), partitions=2)
    producer = KafkaProducer(kafka)
    await producer.start()
    ports = PortPicker()
    port, admin = ports.pick(), ports.pick()
    limits = folder / "limits.yaml"
    limits.write_text(_LIMITS)
    env = {
        **os.environ,
        "PENSTOCK_GATEWAY__LIMITS_FILE": str(limits),
        "PENSTOCK_KAFKA__BOOTSTRAP": kafka_bootstrap,
        "PENSTOCK_REDIS__URL": redis_url,
        "PENSTOCK_BLOBS__URL": (folder / "blobs").as_uri(),
        "PENSTOCK_AUTH__ID_SECRET": ID_SECRET,
        "PENSTOCK_ADMIN__PORT": str(admin),
        "PENSTOCK_GATEWAY__PORT": str(port),
        **extra,
    }
    with (folder / "gateway.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", env=env, stdout=log, stderr=log
        )
    gateway = GatewayProcess(
        url=f"http://{LOOPBACK}:{port}",
        admin_url=f"http://{LOOPBACK}:{admin}",
        tenant=f"t-{uuid4().hex[:8]}",
        key="",
        producer=producer,
        process=process,
    )
    try:
        gateway.key = await gateway.new_key(tenant=gateway.tenant, user="ann")
        await _ready(gateway, folder / "gateway.log")
        yield gateway
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await producer.stop()


async def _ready(gateway: GatewayProcess, log: Path) -> None:
    async with httpx2.AsyncClient() as admin, asyncio.timeout(90):
        while True:
            if gateway.process.returncode is not None:
                raise AssertionError(f"the gateway ended; read {log}")
            try:
                if (await admin.get(f"{gateway.admin_url}/readyz")).is_success:
                    break
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)
    async with gateway.client() as client, asyncio.timeout(30):
        while (await client.get("/v1/jobs")).status_code == 401:  # noqa: ASYNC110 - until the key has arrived
            await asyncio.sleep(0.05)
