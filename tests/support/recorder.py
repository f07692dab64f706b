"""A recorder process beside a broker and a Redis of one's own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from penstock_contracts.envelope import Headers
from penstock_contracts.events import JobStatus
from penstock_contracts.state import JobState
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import DeliveryUnknown, OutRecord, Record
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import KafkaSettings, RedisSettings
from penstock_kit.tasks import TaskCatalog
from penstock_kit.tenancy import TenantScope
from pydantic import SecretStr

from tests.support.job_records import IDS
from tests.support.waiting import eventually, redis_answers

__all__ = ["Ground", "running_ground", "running_recorder"]


@dataclass
class Ground:
    """What a recorder stands on, and what a test does with it."""

    kafka: KafkaSettings
    redis: RedisClient
    redis_url: str
    producer: KafkaProducer
    folder: Path
    group: str

    @property
    def table(self) -> RedisJobTable:
        return RedisJobTable(self.redis)

    async def write(self, records: Sequence[Record]) -> None:
        """Write records of the builders and wait until all are acknowledged."""
        await asyncio.gather(*(self._write_one(_out(record)) for record in records))

    async def _write_one(self, record: OutRecord) -> None:
        """Again where a busy machine gave no answer: folding takes repetitions."""
        while True:
            try:
                await self.producer.send(record)
            except DeliveryUnknown:
                continue
            return

    async def state(self, tenant: str, job: str) -> JobState | None:
        """The job as the table has it; None while it is not there."""
        try:
            return await self.table.get(TenantScope(tenant), job)
        except TableAway:
            return None

    async def until(self, tenant: str, job: str, status: JobStatus, within_s: float = 120) -> None:
        """Return once the job has that status."""

        async def fact() -> bool:
            state = await self.state(tenant, job)
            return state is not None and state.status is status and state.task is not None

        await eventually(fact, within_s=within_s)


def _out(record: Record) -> OutRecord:
    headers: Headers = list(record.headers)
    return OutRecord(record.topic, record.key, record.value, headers)


@asynccontextmanager
async def running_ground(
    kafka: KafkaSettings, redis_url: str, folder: Path
) -> AsyncIterator[Ground]:
    """Topics and clients; the servers run already."""
    await ensure_topics(kafka, TaskCatalog.builtin().topics(), partitions=3)
    redis = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="tests")
    await redis_answers(redis)
    producer = KafkaProducer(kafka, client_id="tests")
    await producer.start()
    try:
        yield Ground(kafka, redis, redis_url, producer, folder, f"recorder-{uuid4().hex[:8]}")
    finally:
        await producer.stop()
        await redis.aclose()


@asynccontextmanager
async def running_recorder(
    ground: Ground, *, name: str = "recorder", **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m recorder`; ended in order if the test did not end it."""
    blobs = ground.folder / "blobs"
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")},
        "PENSTOCK_KAFKA__BOOTSTRAP": ground.kafka.bootstrap,
        "PENSTOCK_REDIS__URL": ground.redis_url,
        "PENSTOCK_BLOBS__URL": blobs.as_uri(),
        "PENSTOCK_AUTH__ID_SECRET": IDS.secret.decode(),
        "PENSTOCK_AUTH__VERIFY_PRODUCERS": "false",
        "PENSTOCK_ADMIN__PORT": "0",
        "PENSTOCK_RECORDER__GROUP": ground.group,
        **{f"PENSTOCK_RECORDER__{key.upper()}": value for key, value in settings.items()},
    }
    with (ground.folder / f"{name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "recorder", env=environ, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
