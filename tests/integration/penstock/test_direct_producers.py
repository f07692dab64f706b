from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Consumer
from penstock import EventProducer, ProducerIdentity, SyncEventProducer
from penstock_contracts.ids import JobIds, derived_job_id
from penstock_contracts.topics import request_topics
from penstock_kit.auth.producers import producer_secret
from penstock_kit.intake import Intake, VerifiedRequest
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import Record, RecordRefused
from penstock_kit.settings import KafkaSettings
from penstock_kit.tasks import TaskCatalog

RECIPE = Path(__file__).parents[3] / "docs" / "direct-producers.md"
SECRET = producer_secret(b"s" * 32, "billing")
IDENTITY = ProducerIdentity(tenant="acme", source="tests", producer="billing", secret=SECRET.hex())
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


class _Secrets:
    def secret_for(self, producer: str, *, tenant: str) -> bytes | None:
        return SECRET if (producer, tenant) == ("billing", "acme") else None


@pytest.fixture
async def bootstrap(kafka_bootstrap: str) -> str:
    topics = request_topics("chat", "ai.chat.requests.v1", workers="llm-worker")
    await ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), topics, partitions=4)
    return kafka_bootstrap


def _verified(bootstrap: str, job: str) -> tuple[VerifiedRequest, int]:
    """The job as a worker would take it from the topic, and its partition."""
    intake = Intake(tasks=TaskCatalog.builtin(), ids=JobIds(b"s" * 32), secrets=_Secrets())
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"reader-of-{job}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["ai.chat.requests.v1"])
    try:
        while True:
            message = consumer.poll(20)
            assert message is not None, "the record is not in the topic"
            if message.key() != job.encode():
                continue
            headers = cast("list[tuple[str, bytes]]", message.headers() or [])
            record = Record(
                "ai.chat.requests.v1",
                message.partition() or 0,
                0,
                key=message.key(),
                value=message.value(),
                headers=headers,
            )
            return intake.verify(record), record.partition
    finally:
        consumer.close()


async def test_send_when_acknowledged_is_a_job_that_workers_accept(bootstrap: str) -> None:
    async with EventProducer(bootstrap, IDENTITY) as producer:
        job = await producer.send("chat", CHAT, event_id="async-1", user="alice")

    verified, _ = await asyncio.to_thread(_verified, bootstrap, job)
    assert (verified.job, verified.user) == (job, "alice")


async def test_send_without_a_loop_is_a_job_that_workers_accept(bootstrap: str) -> None:
    def produce() -> str:
        with SyncEventProducer(bootstrap, IDENTITY) as producer:
            return producer.send("chat", CHAT, event_id="sync-1")

    job = await asyncio.to_thread(produce)

    verified, _ = await asyncio.to_thread(_verified, bootstrap, job)
    assert verified.job == job


async def test_send_to_a_task_without_topic_says_so(bootstrap: str) -> None:
    def produce() -> None:
        with SyncEventProducer(bootstrap, IDENTITY) as producer:
            producer.send("no-such-task", CHAT)

    with pytest.raises(RecordRefused):
        await asyncio.to_thread(produce)


async def test_recipe_with_kcat_when_run_as_printed_is_accepted(bootstrap: str) -> None:
    """The shell block of docs/direct-producers.md, word by word."""
    assert shutil.which("kcat"), "this test needs kcat: apt-get install kcat"
    shell = re.findall(r"```sh\n(.*?)```", RECIPE.read_text(), flags=re.DOTALL)[0]
    given = {
        "BOOTSTRAP": bootstrap,
        "TENANT": "acme",
        "SECRET": SECRET.hex(),
        "ID": "kcat-1",
    }

    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euo", "pipefail", "-c", shell],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    job = derived_job_id(tenant="acme", source="billing/nightly", event_id="kcat-1")
    assert done.stdout.strip() == job
    verified, partition = await asyncio.to_thread(_verified, bootstrap, job)
    assert verified.job == job
    unsigned = ProducerIdentity(tenant="acme", source="billing/nightly")
    async with EventProducer(bootstrap, unsigned) as producer:
        await producer.send("chat", CHAT, event_id="kcat-1")
    assert partition == await asyncio.to_thread(_partition_of_last, bootstrap, job)


def _partition_of_last(bootstrap: str, job: str) -> int:
    """The partition on which our own producer put the same key."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"last-{job}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["ai.chat.requests.v1"])
    found: list[int] = []
    try:
        while len(found) < 2:
            message = consumer.poll(20)
            assert message is not None, "the second record is not in the topic"
            if message.key() == job.encode():
                found.append(message.partition() or 0)
    finally:
        consumer.close()
    return found[-1]
