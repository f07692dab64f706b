"""Silence of the poll thread is noticed, and so is a failure to take in what it read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial

from penstock_contracts.topics import DEAD
from penstock_kit.errors import Fatal
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import (
    Assignment,
    BrokerFault,
    Consumer,
    OutRecord,
    Record,
    TopicPartition,
)
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome

from tests.support import waiting

PATIENCE_S = 20.0


class HandClock:
    """Moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, timezone.utc)

    def monotonic(self) -> float:
        return self.seconds


class StuckConsumer:
    """A consumer whose second poll hangs until `unhang`, then raises what it is told."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._polls = 0
        self.hangs = threading.Event()
        self.unhang = threading.Event()
        self.error: Exception | None = None

    def poll(self, timeout_s: float, max_records: int) -> list[Record]:
        self._polls += 1
        if self._polls > 1:
            self.hangs.set()
            assert self.unhang.wait(PATIENCE_S)
            if self.error is not None:
                raise self.error
        return self._consumer.poll(timeout_s, max_records)

    def subscribe(self, topics: Sequence[str], on_change: Callable[[Assignment], None]) -> None:
        self._consumer.subscribe(topics, on_change)

    def __getattr__(self, name: str) -> object:
        return getattr(self._consumer, name)


class OneByOneConsumer:
    """Gives a record a round, and says when the second has been handed over."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._records = 0
        self.is_later_handed_over = threading.Event()

    def poll(self, timeout_s: float, max_records: int) -> list[Record]:  # noqa: ARG002 - one is enough
        if self._records == 2:
            self.is_later_handed_over.set()
        records = self._consumer.poll(timeout_s, 1)
        self._records += len(records)
        return records

    def __getattr__(self, name: str) -> object:
        return getattr(self._consumer, name)


def lanes_on(
    consumer: StuckConsumer | OneByOneConsumer,
    clock: HandClock,
    faults: list[Fatal],
    *,
    is_wanted: Callable[[Record], bool] | None = None,
) -> Lanes:
    async def handle(_: Delivery) -> Outcome:
        return Done()

    return Lanes(
        consumer=consumer,  # type: ignore[arg-type] # the rest of the port is forwarded
        producer=MemoryKafka([DEAD]).producer(),
        handler=handle,
        topics=["t"],
        clock=clock,
        on_fatal=faults.append,
        name="test",
        is_wanted=is_wanted,
    )


until = partial(waiting.until, within_s=PATIENCE_S)


async def test_watchdog_when_poll_hangs_then_unready_and_later_fatal() -> None:
    clock, faults = HandClock(), list[Fatal]()
    consumer = StuckConsumer(MemoryKafka(["t"]).consumer("g"))
    lanes = lanes_on(consumer, clock, faults)
    assert lanes.problem() is not None
    await lanes.start()
    await until(consumer.hangs.is_set)
    assert lanes.problem() is None

    clock.seconds += 16
    assert "silent for 16 s" in (lanes.problem() or "")
    assert faults == []

    clock.seconds += 45
    await until(lambda: len(faults) == 1)
    consumer.unhang.set()
    await lanes.stop()


async def test_poll_when_client_is_beyond_repair_then_fatal_once_and_stop_still_works() -> None:
    faults: list[Fatal] = []
    consumer = StuckConsumer(MemoryKafka(["t"]).consumer("g"))
    consumer.error = BrokerFault("max.poll.interval exceeded")
    lanes = lanes_on(consumer, HandClock(), faults)
    await lanes.start()

    consumer.unhang.set()

    await until(lambda: faults == [consumer.error])
    assert lanes.problem() == "max.poll.interval exceeded"
    await lanes.stop()


async def test_records_when_they_cannot_be_taken_in_then_fatal_and_no_offset_passes_them() -> None:
    kafka, faults = MemoryKafka(["t", DEAD], partitions=1), list[Fatal]()
    producer = kafka.producer()
    await producer.start()
    broken = await producer.send(OutRecord("t", b"k", b"broken"))
    await producer.send(OutRecord("t", b"k", b"later"))
    consumer = OneByOneConsumer(kafka.consumer("g"))

    def is_wanted(record: Record) -> bool:
        if record.value == b"broken":
            assert consumer.is_later_handed_over.wait(PATIENCE_S)
            raise ValueError("cannot be judged")
        return False

    lanes = lanes_on(consumer, HandClock(), faults, is_wanted=is_wanted)
    await lanes.start()
    await until(lambda: faults)
    await lanes.stop()

    assert "cannot be judged" in str(faults[0])
    assert len(faults) == 1
    assert kafka.group("g").committed.get(TopicPartition("t", 0), 0) <= broken.offset


async def test_stop_when_never_started_or_twice_then_fine() -> None:
    consumer = StuckConsumer(MemoryKafka(["t"]).consumer("g"))
    consumer.unhang.set()
    lanes = lanes_on(consumer, HandClock(), [])
    await lanes.stop()

    await lanes.start()
    await lanes.stop()
    await lanes.stop()
