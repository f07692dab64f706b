"""A worker that is killed loses nothing and repeats little; one that is asked repeats nothing."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings

from tests.support.kafka_ports import plain_topic

ROOT = Path(__file__).parents[3]
COUNT = 1500


class Worker:
    """A real process and the lines that it printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[list[str]] = []

    @classmethod
    async def start(cls, *arguments: str) -> Worker:
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.support.lanes_worker",
                *arguments,
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def read_until_done(self, wanted: set[int]) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(90):
            while wanted - self.numbers("done"):
                line = await self.process.stdout.readline()
                assert line, "the worker ended too early"
                self.lines.append(line.decode().split())

    async def read_until_said(self, event: str, *, since: int = 0) -> None:
        """Read on until a log line of that event came, after the first `since` lines."""
        assert self.process.stdout is not None
        async with asyncio.timeout(90):
            while not any(event in line for line in self.lines[since:]):
                line = await self.process.stdout.readline()
                assert line, "the worker ended too early"
                self.lines.append(line.decode().split())

    async def read_rest(self) -> None:
        assert self.process.stdout is not None
        rest = await self.process.stdout.read()
        self.lines += [line.split() for line in rest.decode().splitlines()]
        await self.process.wait()

    def numbers(self, word: str) -> set[int]:
        return {int(line[1]) for line in self.lines if line[0] == word}

    def count(self, word: str) -> Counter[int]:
        return Counter(int(line[1]) for line in self.lines if line[0] == word)


async def filled_topic(settings: KafkaSettings) -> str:
    topic = f"killed-{uuid4().hex[:8]}"
    await ensure_topics(settings, [plain_topic(topic)])
    producer = KafkaProducer(settings)
    await producer.start()
    for n in range(COUNT):
        producer.send_soon(OutRecord(topic, b"key-%d" % (n % 300), b"%d" % n))
    await producer.stop()
    return topic


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_kill_when_half_way_then_nothing_lost_and_only_the_window_repeated(
    kafka_bootstrap: str, protocol: str
) -> None:
    topic = await filled_topic(KafkaSettings(bootstrap=kafka_bootstrap))
    arguments = (kafka_bootstrap, protocol, topic, f"group-{topic}")
    first = await Worker.start(*arguments)
    some = set(range(COUNT // 3))
    await first.read_until_done(some)
    first.process.kill()
    await first.read_rest()
    assert first.numbers("done") < set(range(COUNT))

    second = await Worker.start(*arguments)
    await second.read_until_done(set(range(COUNT)) - first.numbers("done"))
    second.process.terminate()
    await second.read_rest()

    assert second.process.returncode == 0
    assert first.numbers("done") | second.numbers("done") == set(range(COUNT))
    repeated = first.numbers("begin") & second.numbers("begin")
    assert repeated
    fresh = {int(line[1]) for line in second.lines if line[0] == "begin" and line[2] == "fresh"}
    assert not repeated & fresh, "whatever another process may have begun is marked as suspect"
    assert max(second.count("begin").values()) == 1


async def test_terminate_when_half_way_then_nothing_lost_and_nothing_repeated(
    kafka_bootstrap: str,
) -> None:
    topic = await filled_topic(KafkaSettings(bootstrap=kafka_bootstrap))
    arguments = (kafka_bootstrap, "classic", topic, f"group-{topic}")
    first = await Worker.start(*arguments)
    await first.read_until_done(set(range(200)))
    first.process.terminate()
    await first.read_rest()
    assert first.process.returncode == 0
    assert first.numbers("begin") == first.numbers("done")

    second = await Worker.start(*arguments)
    await second.read_until_done(set(range(COUNT)) - first.numbers("done"))
    second.process.terminate()
    await second.read_rest()

    assert first.count("done") + second.count("done") == Counter(range(COUNT))


async def test_stop_and_continue_when_longer_than_the_session_then_the_zombie_does_nothing(
    kafka_bootstrap: str,
) -> None:
    topic = await filled_topic(KafkaSettings(bootstrap=kafka_bootstrap))
    arguments = (kafka_bootstrap, "classic", topic, f"group-{topic}")
    first = await Worker.start(*arguments)
    await first.read_until_done(set(range(200)))
    first.process.send_signal(signal.SIGSTOP)
    second = await Worker.start(*arguments)
    await second.read_until_done(set(range(COUNT)) - first.numbers("done"))

    before, woken_at = len(first.lines), time.monotonic()
    first.process.send_signal(signal.SIGCONT)
    await first.read_until_said("lanes.revoked", since=before)
    await first.read_until_said("lanes.assigned", since=before)
    for worker in (first, second):
        worker.process.terminate()
        await worker.read_rest()

    assert (first.process.returncode, second.process.returncode) == (0, 0)
    begun = [line for line in first.lines if line[0] == "begin"]
    begun_awake = {int(line[1]) for line in begun if float(line[3]) > woken_at}
    assert not begun_awake, "all is done and committed by the other: nothing came back"
    third = await Worker.start(*arguments)
    await third.read_until_said("lanes.assigned")
    third.process.terminate()
    await third.read_rest()
    assert not third.numbers("begin"), "the zombie's commits took nothing back"
