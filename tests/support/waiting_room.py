"""Lanes over one topic and the retry topics, without broker and threads, on a virtual clock.

What the engine puts together, with a broker of a few lines: days of retries run in a second.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from penstock_kit.errors import Fatal
from penstock_kit.kafka.ports import Ack, OutRecord, Record, TopicPartition
from penstock_kit.lanes.dead_letters import DeadLetters
from penstock_kit.lanes.fates import Fates
from penstock_kit.lanes.keys import Partition
from penstock_kit.lanes.metrics import LaneMetrics
from penstock_kit.lanes.outcomes import Delivery, Outcome
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.retry_pump import RetryPump
from penstock_kit.lanes.retry_topics import RetryTopics
from penstock_kit.lanes.runner import Runner
from penstock_kit.lanes.stats import LaneStats
from penstock_kit.lanes.window import Window
from penstock_kit.telemetry.metrics import Metrics

from tests.support.virtual_loop import LoopClock

__all__ = ["WaitingRoom"]


class WaitingRoom:
    """Implements the part of `Producer` that is used; each topic has one partition.

    Attributes:
        written: every record, by topic.
    """

    def __init__(
        self,
        topic: str,
        handler: Callable[[Delivery], Awaitable[Outcome]],
        *,
        policy: LanePolicy,
    ) -> None:
        self.clock = LoopClock(asyncio.get_running_loop())
        self.written: dict[str, list[Record]] = defaultdict(list)
        self.faults: list[Fatal] = []
        self._topic = topic
        retries = RetryTopics.standard()
        self._window = Window(policy, self.clock)
        self._pump = RetryPump(
            topics=retries,
            sources=[topic],
            window=self._window,
            producer=self,  # type: ignore[arg-type] # only `send` is used
            clock=self.clock,
            is_called_back=None,
            on_due=lambda: self._runner.pump(),  # noqa: PLW0108 - it is made later
        )
        self._fates = Fates(
            dead_letters=DeadLetters(self, clock=self.clock, by="test"),  # type: ignore[arg-type] # only `send` is used
            retries=self._pump.retries,
            policy=policy,
            metrics=LaneMetrics(Metrics(), "test", _no_stats),
            name="test",
        )
        self._runner = Runner(
            window=self._window, handler=handler, fates=self._fates, on_fatal=self.faults.append
        )
        self._runner.is_open = True
        self._partitions = {
            name: Partition(
                TopicPartition(name, 0),
                epoch=1,
                committed=-1,
                level=1,
                suspect_span=policy.suspect_span,
                is_retry=name != topic,
            )
            for name in (topic, *retries.names)
        }
        self._window.add(list(self._partitions.values()))
        self._pump.add(list(self._partitions.values()))

    async def send(self, record: OutRecord) -> Ack:
        """Append with the broker's time; readers get it at once."""
        log = self.written[record.topic]
        at_ms = int(self.clock.monotonic() * 1000)
        appended = Record(
            record.topic,
            0,
            len(log),
            record.key,
            record.value,
            record.headers,
            at_ms,
            is_broker_time=True,
        )
        log.append(appended)
        if record.topic in self._partitions:
            asyncio.get_running_loop().call_soon(self._read, appended)
        return Ack(record.topic, 0, appended.offset, at_ms)

    async def empty(self) -> None:
        """Return when nothing runs and nothing waits."""
        await asyncio.sleep(1)
        while self._window.running or self._window.queued or self._pump.held:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(60)
        await self._pump.stop()

    def _read(self, record: Record) -> None:
        partition = self._partitions[record.topic]
        partition.handed += 1
        partition.handed_bytes += record.size_bytes
        if partition.is_retry:
            self._pump.accept(partition, [record])
        else:
            self._window.accept([(partition, [record])])
        self._runner.pump()


def _no_stats() -> LaneStats:
    raise NotImplementedError
