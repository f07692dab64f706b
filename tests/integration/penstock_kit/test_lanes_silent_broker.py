"""A broker that is there and says nothing: connections stand, answers never come."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from penstock.dev.kafka import KafkaNode, kafka_spec
from penstock.dev.ports import PortPicker
from penstock.dev.process import end_group, run_process, signal_group
from penstock_kit.errors import Fatal
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.settings import KafkaSettings

from tests.support.kafka_ports import plain_topic
from tests.support.lanes import Work, until


class Broker:
    """A node that can be stopped without being ended."""

    def __init__(self, folder: Path) -> None:
        ports = PortPicker()
        self.node = KafkaNode(
            data=folder / "kafka", port=ports.pick(), controller_port=ports.pick(), heap="384m"
        )
        self._process = run_process(kafka_spec(self.node, log=folder / "kafka.log"))

    def freeze(self) -> None:
        signal_group(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        signal_group(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        end_group(self._process, timeout_s=0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.end()


async def test_broker_when_silent_then_unready_and_ready_again_and_at_last_fatal(
    broker: Broker,
) -> None:
    settings = KafkaSettings(bootstrap=broker.node.bootstrap)
    await ensure_topics(settings, [plain_topic("t")])
    faults: list[Fatal] = []
    lanes = Lanes(
        consumer=GroupConsumer(settings, "g"),
        producer=MemoryKafka().producer(),
        handler=Work(),
        topics=["t"],
        policy=LanePolicy(stall_fatal=timedelta(seconds=25)),
        on_fatal=faults.append,
        name="test",
    )
    await lanes.start()
    await until(lambda: lanes.stats.assigned == 3)
    assert lanes.problem() is None

    async with asyncio.timeout(120):
        broker.freeze()
        await until(lambda: "no broker has answered" in (lanes.problem() or ""))
        assert faults == []
        broker.thaw()
        await until(lambda: lanes.problem() is None)
        broker.freeze()
        await until(lambda: len(faults) == 1)
        assert "no broker has answered" in str(faults[0])
        broker.thaw()
    await lanes.stop()
