"""Retry tiers, on Kafka in memory and on a real broker with both rebalance protocols."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from penstock_contracts.dead import DeadReason, original_headers, read_dead_letter
from penstock_contracts.retries import (
    MAX_DELAY_MS,
    RetryNote,
    read_retry_note,
    retry_headers,
)
from penstock_contracts.topics import DEAD, LARGEST_RECORD_BYTES
from penstock_kit.clock import Clock, SystemClock
from penstock_kit.errors import Fatal, Retryable
from penstock_kit.kafka.ports import OutRecord, Record, TopicPartition
from penstock_kit.lanes.backoff import Backoff
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome, Retry
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.retry_topics import RetryTier, RetryTopics

from tests.support import waiting
from tests.support.kafka_ports import PARTITIONS, Ports, plain_topic

PATIENCE_S = 30.0
SHORT, LONG = timedelta(milliseconds=300), timedelta(seconds=1)
QUICK = LanePolicy(
    attempts=3, backoff=Backoff(base=timedelta(milliseconds=20), cap=timedelta(milliseconds=100))
)
OURS = b"<the topic of the bench>"
Act = Callable[[Delivery], Awaitable[Outcome]]


def ms(n: float) -> timedelta:
    return timedelta(milliseconds=n)


until = partial(waiting.until, within_s=PATIENCE_S)


def again(after: timedelta, *, in_place: bool = False, state: bytes = b"") -> Retry:
    return Retry(after=after, code="away", detail="away", in_place=in_place, state=state)


class SkewedClock(SystemClock):
    """The clock of a machine whose wall clock is wrong."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        return super().now() + self._by


class Bench:
    """Lanes with retry topics of their own; remembers every delivery and when it came."""

    def __init__(self, ports: Ports, topics: RetryTopics) -> None:
        self.ports = ports
        self.topics = topics
        self.begun: list[Delivery] = []
        self.begun_at_ms: list[float] = []
        self.faults: list[Fatal] = []

    @asynccontextmanager
    async def running(
        self,
        act: Act,
        *,
        policy: LanePolicy = QUICK,
        clock: Clock | None = None,
        topics: RetryTopics | None = None,
    ) -> AsyncIterator[Lanes]:
        async def handle(delivery: Delivery) -> Outcome:
            self.begun_at_ms.append(time.time() * 1000)
            self.begun.append(delivery)
            return await act(delivery)

        lanes = Lanes(
            consumer=self.ports.make_consumer(self.ports.group),
            producer=self.ports.producer,
            handler=handle,
            topics=[self.ports.topic],
            retries=topics or self.topics,
            policy=policy,
            clock=clock,
            on_fatal=self.faults.append,
            name="test",
        )
        await lanes.start()
        try:
            yield lanes
        finally:
            await lanes.stop()

    def retried(self) -> list[tuple[Delivery, float]]:
        """Deliveries from retry topics, each with its lateness in seconds; never negative."""
        found = []
        for delivery, at_ms in zip(self.begun, self.begun_at_ms, strict=True):
            note = read_retry_note(delivery.record.headers)
            if note is not None and delivery.record.topic in self.topics.names:
                due_ms = delivery.record.timestamp_ms + note.delay_ms
                found.append((delivery, (at_ms - due_ms) / 1000))
        return found

    async def letters(self, count: int) -> list[Record]:
        """The first dead letters of this bench; others write to the same topic."""
        return await asyncio.to_thread(self._letters, count)

    def _letters(self, count: int) -> list[Record]:
        consumer = self.ports.make_consumer(f"reader-{uuid4().hex[:8]}")
        consumer.subscribe([DEAD.name], lambda _: None)
        found: list[Record] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < count and time.monotonic() < deadline:
            for record in consumer.poll(0.2, 500):
                letter = read_dead_letter(record.headers)
                own = (self.ports.topic, *self.topics.names)
                if letter is not None and letter.topic in own:
                    found.append(record)
        consumer.close()
        return found


@pytest.fixture
async def bench(kafka_ports: Ports) -> Bench:
    tiers = [
        RetryTier(f"{kafka_ports.topic}.short", SHORT),
        RetryTier(f"{kafka_ports.topic}.long", LONG),
    ]
    for tier in tiers:
        await kafka_ports.create_topic(
            plain_topic(tier.topic, keeps_broker_time=True, max_message_bytes=LARGEST_RECORD_BYTES)
        )
    return Bench(kafka_ports, RetryTopics(tiers))


def number(delivery: Delivery) -> int:
    return int(delivery.record.value or b"-1")


async def done(_: Delivery) -> Outcome:
    return Done()


@pytest.mark.parametrize("skew", [timedelta(), timedelta(hours=1), timedelta(hours=-1)], ids=str)
async def test_retry_when_wall_clock_is_wrong_then_never_early_and_on_time(
    bench: Bench, skew: timedelta
) -> None:
    async def fail_once(delivery: Delivery) -> Outcome:
        if delivery.failures:
            return Done()
        return again(ms(20 * (number(delivery) % 50)))

    await bench.ports.fill(100)
    async with bench.running(fail_once, clock=SkewedClock(skew)):
        await until(lambda: len(bench.begun) == 200)

    lateness = sorted(late for _, late in bench.retried())
    assert len(lateness) == 100
    assert lateness[0] >= 0, "a retry came early"
    assert lateness[98] <= 1.0


async def test_retry_when_moved_then_record_is_the_same_and_state_comes_along(
    bench: Bench,
) -> None:
    headers = [("ce_id", b"\x00\xff"), ("twice", b"1"), ("twice", b"2")]

    async def fail_twice(delivery: Delivery) -> Outcome:
        if delivery.failures == 2:
            return Done()
        return again(ms(10), state=b"after %d" % delivery.failures)

    await bench.ports.producer.send(OutRecord(bench.ports.topic, b"k", b"\xfe{", headers))
    async with bench.running(fail_twice):
        await until(lambda: len(bench.begun) == 3)

    assert [d.failures for d in bench.begun] == [0, 1, 2]
    assert [d.state for d in bench.begun] == [b"", b"after 0", b"after 1"]
    assert {d.source for d in bench.begun} == {bench.ports.topic}
    assert {d.record.topic for d in bench.begun[1:]} == {bench.topics.names[0]}
    first, *moved = bench.begun
    assert first.note is None
    for delivery in moved:
        assert delivery.note is not None
        origin = (delivery.note.source, delivery.note.partition, delivery.note.offset)
        assert origin == (first.record.topic, first.record.partition, first.record.offset)
        assert delivery.note.state == delivery.state
    last = bench.begun[-1].record
    assert (last.key, last.value, list(last.headers)[:3]) == (b"k", b"\xfe{", headers)
    assert sum(name == "penstock_retry_source" for name, _ in last.headers) == 1


async def test_retry_when_moved_then_key_goes_on_and_in_place_it_waits(bench: Bench) -> None:
    async def fail_first(delivery: Delivery) -> Outcome:
        if number(delivery) % 10 or delivery.failures:
            return Done()
        return again(ms(150), in_place=number(delivery) == 0)

    for n in (0, 1, 2):
        await bench.ports.producer.send(OutRecord(bench.ports.topic, b"waits", b"%d" % n))
    for n in (10, 11, 12):
        await bench.ports.producer.send(OutRecord(bench.ports.topic, b"goes on", b"%d" % n))
    async with bench.running(fail_first) as lanes:
        await until(lambda: len(bench.begun) == 4 and lanes.stats.in_flight == 0)
        await until(lambda: len(bench.begun) == 8)

    numbers = [number(delivery) for delivery in bench.begun]
    assert [n for n in numbers if n < 10] == [0, 0, 1, 2]
    assert [n for n in numbers if n >= 10] == [10, 11, 12, 10]


async def test_retry_when_longer_than_any_tier_then_it_hops(bench: Bench) -> None:
    async def fail_once(delivery: Delivery) -> Outcome:
        return Done() if delivery.failures else again(LONG + ms(200), state=b"kept")

    await bench.ports.fill(1)
    started = time.monotonic()
    async with bench.running(fail_once):
        await until(lambda: len(bench.begun) == 2)
        waited_s = time.monotonic() - started

    assert waited_s >= 1.2
    assert (bench.begun[1].failures, bench.begun[1].state) == (1, b"kept")
    assert bench.begun[1].record.topic == bench.topics.names[0], "the rest fits the short tier"


async def test_retryable_when_attempts_used_up_then_dead_letter_shows_the_original(
    bench: Bench,
) -> None:
    async def fail(_: Delivery) -> Outcome:
        raise Retryable("the provider is away", retry_after_s=0.05)

    [ack] = await bench.ports.fill(1)
    async with bench.running(fail) as lanes:
        await until(lambda: len(bench.begun) == 3 and lanes.stats.in_flight == 0)
        [letter] = await bench.letters(1)

    dead = read_dead_letter(letter.headers)
    assert dead is not None
    assert (dead.reason, dead.code, dead.attempts) == (DeadReason.FAILURE, "attempts_exhausted", 3)
    assert (dead.topic, dead.partition, dead.offset) == (ack.topic, ack.partition, ack.offset)
    assert list(original_headers(letter.headers)) == [("n", b"0")]
    assert min(late for _, late in bench.retried()) >= 0
    assert all(
        (read_retry_note(d.record.headers) or note()).delay_ms >= 50 for d in bench.begun[1:]
    )


def note(**changes: object) -> RetryNote:
    return RetryNote(**{"source": "t", "failures": 1, "delay_ms": 0, **changes})  # type: ignore[arg-type] # fields of the note


async def test_record_when_of_another_group_then_skipped_and_committed(bench: Bench) -> None:
    short = bench.topics.names[0]
    foreign = retry_headers(note(source="ai.other.requests.v1", delay_ms=100))
    ours = retry_headers(note(source=bench.ports.topic, delay_ms=100))
    for n in range(40):
        await bench.ports.producer.send(OutRecord(short, b"%d" % n, b"%d" % n, foreign))
        if n in (10, 20):
            await bench.ports.producer.send(OutRecord(short, b"%d" % n, b"%d" % n, ours))
    async with bench.running(done):
        await until(lambda: len(bench.begun) == 2)

    consumer = bench.ports.make_consumer(bench.ports.group)
    committed = await asyncio.to_thread(committed_of, consumer, short)
    assert sum(committed) >= 42, "everything is passed, with room for probes"
    assert sorted(number(d) for d in bench.begun) == [10, 20]


def committed_of(consumer: object, topic: str) -> list[int]:
    """Join the group and look where it stands in a topic."""
    found: dict[TopicPartition, int] = {}
    consumer.subscribe([topic], lambda change: found.update(change.added))  # type: ignore[attr-defined] # a Consumer
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < PARTITIONS and time.monotonic() < deadline:
        consumer.poll(0.05, 1)  # type: ignore[attr-defined] # the same
    consumer.close()  # type: ignore[attr-defined] # the same
    return list(found.values())


async def test_withdraw_when_records_wait_in_a_retry_topic_then_they_are_the_callers(
    bench: Bench,
) -> None:
    async def fail_once(delivery: Delivery) -> Outcome:
        return Done() if delivery.failures else again(ms(900))

    async with bench.running(fail_once) as lanes:
        await until(lambda: lanes.stats.assigned == 3 * PARTITIONS)
        await bench.ports.fill(20)
        await until(lambda: lanes.stats.held == 20 and lanes.stats.in_flight == 0)
        withdrawn = await lanes.withdraw(lambda record: int(record.value or b"") < 15)
        assert len(withdrawn) == 15
        assert {delivery.failures for delivery in withdrawn} == {1}
        assert not any(delivery.is_suspect for delivery in withdrawn), "written under our own eyes"
        for delivery in withdrawn:
            lanes.finish(delivery, Done())
        await until(lambda: len(bench.begun) == 25 and lanes.stats.queued == 0)

    async with bench.running(done) as lanes:
        await until(lambda: lanes.stats.assigned == 3 * PARTITIONS)
        await bench.ports.fill(1, start=99)
        await until(lambda: len(bench.begun) == 26)


@pytest.mark.parametrize("outcome", ["dead", "retry"])
async def test_record_when_as_large_as_its_topic_allows_then_retried_and_dead_lettered(
    bench: Bench, outcome: str
) -> None:
    body = bytes(1_048_000)

    async def fail(delivery: Delivery) -> Outcome:
        if delivery.failures < 2:
            return again(ms(10), state=bytes(4096))
        if outcome == "retry":
            return Done()
        return Dead(DeadReason.FAILURE, "gave_up", "x" * 5000, answer="y" * 5000)

    await bench.ports.producer.send(OutRecord(bench.ports.topic, b"big", body))
    async with bench.running(fail) as lanes:
        await until(lambda: len(bench.begun) == 3 and lanes.stats.in_flight == 0)

    assert bench.begun[-1].record.topic == bench.topics.names[0]
    assert bench.begun[-1].record.value == body
    if outcome == "dead":
        [letter] = await bench.letters(1)
        assert letter.value == body


async def test_retry_when_its_topic_refuses_then_the_record_waits_in_place(bench: Bench) -> None:
    missing = RetryTopics([RetryTier(f"{bench.ports.topic}.missing", LONG)])

    async def fail_once(delivery: Delivery) -> Outcome:
        return Done() if delivery.failures else again(ms(100), state=b"kept")

    await bench.ports.fill(3, keys=1)
    async with bench.running(fail_once, topics=missing):
        await until(lambda: len(bench.begun) == 6)

    assert [number(delivery) for delivery in bench.begun] == [0, 0, 1, 1, 2, 2]
    assert bench.begun[1].state == b"kept"
    assert {d.record.topic for d in bench.begun} == {bench.ports.topic}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("penstock_retry_source", b"x")],
        [("penstock_retry_source", b"x"), ("penstock_retry_failures", b"-1")],
        [
            ("penstock_retry_source", b"\xff"),
            ("penstock_retry_failures", b"1"),
            ("penstock_retry_delay_ms", b"1"),
        ],
        [
            ("penstock_retry_source", b"x"),
            ("penstock_retry_failures", b"1"),
            ("penstock_retry_delay_ms", b"9" * 5000),
        ],
        [
            ("penstock_retry_source", OURS),
            ("penstock_retry_failures", b"1"),
            ("penstock_retry_delay_ms", b"%d" % (MAX_DELAY_MS + 1)),
        ],
        [
            ("penstock_retry_source", OURS),
            ("penstock_retry_failures", b"1"),
            ("penstock_retry_delay_ms", b"%d" % (7 * 24 * 60 * 60 * 1000)),
        ],
    ],
    ids=["none", "half", "negative", "not-text", "astronomical", "too-long", "a-week"],
)
async def test_note_when_it_makes_no_sense_then_dead_letter(
    bench: Bench, headers: list[tuple[str, bytes]]
) -> None:
    ours = bench.ports.topic.encode()
    headers = [(name, raw.replace(OURS, ours)) for name, raw in headers]
    await bench.ports.producer.send(OutRecord(bench.topics.names[0], b"k", b"1", headers))
    async with bench.running(done):
        [letter] = await bench.letters(1)

    dead = read_dead_letter(letter.headers)
    assert dead is not None
    assert (dead.code, bench.begun) == ("bad_retry_note", [])


async def test_note_when_forged_on_a_request_topic_then_ignored(bench: Bench) -> None:
    forged = retry_headers(note(source="other", failures=49, delay_ms=60_000, state=b"forged"))

    async def fail_once(delivery: Delivery) -> Outcome:
        return Done() if delivery.failures else again(ms(10))

    await bench.ports.producer.send(OutRecord(bench.ports.topic, b"k", b"1", forged))
    async with bench.running(fail_once):
        await until(lambda: len(bench.begun) == 2)

    assert [(d.failures, d.state, d.source) for d in bench.begun] == [
        (0, b"", bench.ports.topic),
        (1, b"", bench.ports.topic),
    ]


@pytest.mark.parametrize("skew", [timedelta(hours=1), timedelta(hours=-1)], ids=str)
async def test_stop_when_records_wait_then_they_stay_in_the_log_for_the_next_process(
    bench: Bench, skew: timedelta
) -> None:
    async def fail_once(delivery: Delivery) -> Outcome:
        return Done() if delivery.failures else again(ms(900))

    async with bench.running(fail_once) as lanes:
        await until(lambda: lanes.stats.assigned == 3 * PARTITIONS)
        await bench.ports.fill(10)
        await until(lambda: lanes.stats.held == 10)
    assert len(bench.begun) == 10

    # Nobody writes meanwhile: only a probe can tell the successor what time it is.
    async with bench.running(fail_once, clock=SkewedClock(skew)) as lanes:
        await until(lambda: len(bench.begun) == 20)

    lateness = sorted(late for _, late in bench.retried())
    assert lateness[0] >= 0
    assert sorted(number(d) for d in bench.begun[10:]) == list(range(10))
    assert all(d.is_suspect for d in bench.begun[10:]), "the process before may have begun them"


async def test_wait_when_topic_keeps_producers_time_then_counted_from_reading(
    bench: Bench,
) -> None:
    plain = f"{bench.ports.topic}.plain"
    await bench.ports.create_topic(plain_topic(plain))
    topics = RetryTopics([RetryTier(plain, LONG)])

    async def fail_once(delivery: Delivery) -> Outcome:
        return Done() if delivery.failures else again(ms(300))

    await bench.ports.fill(3)
    async with bench.running(fail_once, topics=topics, clock=SkewedClock(timedelta(hours=1))):
        await until(lambda: len(bench.begun) == 6)

    assert min(bench.begun_at_ms[3:]) - max(bench.begun_at_ms[:3]) >= 295


async def test_dead_letters_when_they_are_most_of_a_minute_then_the_process_stops(
    bench: Bench,
) -> None:
    async def bury(_: Delivery) -> Outcome:
        return Dead(DeadReason.FAILURE, "provider_auth_failed", "our key is refused")

    await bench.ports.fill(50, keys=50)
    async with bench.running(bury, policy=LanePolicy(dead_per_minute=20, max_in_flight=1)) as lanes:
        await until(lambda: bool(bench.faults))
        assert "dead-lettered 20 of the last" in (lanes.problem() or "")

    assert len(await bench.letters(20)) == 20
    # What was not buried is still there.
    async with bench.running(done):
        await until(lambda: len(bench.begun) >= 51)
