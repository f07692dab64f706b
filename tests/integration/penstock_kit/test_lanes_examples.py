"""The examples of lanes, as programs on a bare broker."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings

from tests.support.kafka_ports import plain_topic

EXAMPLES = Path(__file__).parents[3] / "libs/kit/examples/lanes"
PATIENCE_S = 60.0


class Program:
    """A running example on topics of its own."""

    def __init__(self, process: asyncio.subprocess.Process, producer: KafkaProducer) -> None:
        self.process = process
        self.producer = producer
        self.lines: list[str] = []

    async def read_until(self, fact: Callable[[list[str]], bool]) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while not fact(self.lines):
                line = (await self.process.stdout.readline()).decode()
                assert line, "the example ended too early"
                if "[info" not in line and "[warning" not in line:
                    self.lines.append(line.strip())

    async def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


@asynccontextmanager
async def example(name: str, bootstrap: str) -> AsyncIterator[tuple[Program, str]]:
    settings, topic = KafkaSettings(bootstrap=bootstrap), f"example-{uuid4().hex[:8]}"
    retry = plain_topic(f"{topic}.retry", keeps_broker_time=True)
    await ensure_topics(settings, [plain_topic(topic), plain_topic(f"{topic}.dead"), retry])
    producer = KafkaProducer(settings)
    await producer.start()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / name), bootstrap, topic, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Program(process, producer), topic
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await producer.stop()


async def test_minimal_when_records_come_then_each_is_handled_in_order_of_its_key(
    kafka_bootstrap: str,
) -> None:
    async with example("minimal.py", kafka_bootstrap) as (program, topic):
        for n in range(60):
            await program.producer.send(OutRecord(topic, b"key-%d" % (n % 20), b"%03d" % n))
        await program.read_until(lambda lines: len(lines) == 60)

        assert await program.end() == 0
    by_key: dict[str, list[str]] = {}
    for line in program.lines:
        key, value = line.split()
        by_key.setdefault(key, []).append(value)
    assert len(by_key) == 20
    assert all(values == sorted(values) for values in by_key.values())


async def test_retries_when_a_record_fails_once_then_done_and_never_ones_are_dead(
    kafka_bootstrap: str,
) -> None:
    async with example("retries.py", kafka_bootstrap) as (program, topic):
        for value in (b"one", b"never", b"two"):
            await program.producer.send(OutRecord(topic, value, value))
        await program.read_until(lambda lines: len(lines) == 2)

        assert await program.end() == 0
    assert sorted(program.lines) == ["done one after 1 failure", "done two after 1 failure"]


async def test_tenants_when_one_is_paused_then_it_runs_after_it_is_let_go(
    kafka_bootstrap: str,
) -> None:
    async with example("tenants.py", kafka_bootstrap) as (program, topic):
        for n in range(20):
            tenant = b"late" if n < 10 else b"early"
            await program.producer.send(
                OutRecord(topic, b"%d" % n, b"%d" % n, [("tenant", tenant)])
            )
        await program.read_until(lambda lines: len(lines) == 20)

        assert await program.end() == 0
    assert {line.split()[0] for line in program.lines} == {"early", "late"}
