"""One suite for both Kafkas: what the ports promise holds in memory and on a real broker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from penstock_kit.kafka.ports import (
    Ack,
    Assignment,
    BrokerFault,
    OutRecord,
    Record,
    RecordRefused,
    TopicPartition,
)

from tests.support.kafka_ports import PARTITIONS, Ports

PATIENCE_S = 20.0


@pytest.fixture
def ports(kafka_ports: Ports) -> Ports:
    return kafka_ports


class Member:
    """A consumer with everything it saw; `poll_until` runs on the caller's thread."""

    def __init__(self, ports: Ports) -> None:
        self.consumer = ports.make_consumer(ports.group)
        self.changes: list[Assignment] = []
        self.records: list[Record] = []
        self.owned: set[TopicPartition] = set()
        self.on_change: Callable[[Assignment], None] = lambda _: None
        self.consumer.subscribe([ports.topic], self._changed)

    def _changed(self, change: Assignment) -> None:
        self.changes.append(change)
        self.on_change(change)
        self.owned |= set(change.added)
        self.owned -= change.revoked

    def poll_until(self, fact: Callable[[], bool], *, patience_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience_s
        while not fact():
            assert time.monotonic() < deadline, "the fact did not come true in time"
            self.records += self.consumer.poll(0.05, 100)


@contextmanager
def member(ports: Ports) -> Iterator[Member]:
    one = Member(ports)
    try:
        yield one
    finally:
        one.consumer.close()


@contextmanager
def polling(other: Member) -> Iterator[None]:
    """Keep another member alive on a thread of its own."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            other.records += other.consumer.poll(0.05, 100)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def test_send_when_acked_then_record_is_read_back_as_written(ports: Ports) -> None:
    ack = await ports.producer.send(
        OutRecord(ports.topic, b"k", b"v", [("a", b"1"), ("a", b"\xff"), ("b", b"")])
    )

    with member(ports) as one:
        await asyncio.to_thread(one.poll_until, lambda: len(one.records) == 1)

    record = one.records[0]
    assert (record.topic, record.partition, record.offset) == (ack.topic, ack.partition, ack.offset)
    assert (record.key, record.value) == (b"k", b"v")
    assert list(record.headers) == [("a", b"1"), ("a", b"\xff"), ("b", b"")]
    assert record.timestamp_ms > 0


async def test_send_when_key_or_value_absent_then_they_stay_absent(ports: Ports) -> None:
    await ports.producer.send(OutRecord(ports.topic, b"key", None))
    await ports.producer.send(OutRecord(ports.topic, None, b"value"))

    with member(ports) as one:
        await asyncio.to_thread(one.poll_until, lambda: len(one.records) == 2)

    assert {(record.key, record.value) for record in one.records} == {
        (b"key", None),
        (None, b"value"),
    }


async def test_send_when_keys_given_then_partitions_are_those_of_java(ports: Ports) -> None:
    """Known values of Java's murmur2 on three partitions."""
    acks = {
        key: await ports.producer.send(OutRecord(ports.topic, key, b""))
        for key in (b"21", b"foobar", b"a-little-bit-long-string", b"")
    }

    java = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, value in java.items():
        assert acks[key].partition == (value & 0x7FFFFFFF) % PARTITIONS


async def test_send_soon_when_many_then_order_per_key_and_every_ack_on_the_loop(
    ports: Ports,
) -> None:
    here = threading.get_ident()
    threads: set[int] = set()
    acks: list[Ack] = []
    done = asyncio.Event()

    def on_ack(ack: Ack | None, error: Exception | None) -> None:
        assert ack is not None, error
        threads.add(threading.get_ident())
        acks.append(ack)
        if len(acks) == 500:
            done.set()

    for n in range(500):
        ports.producer.send_soon(OutRecord(ports.topic, b"k%d" % (n % 7), b"%d" % n), on_ack)
    async with asyncio.timeout(PATIENCE_S):
        await done.wait()

    assert threads == {here}
    with member(ports) as one:
        await asyncio.to_thread(one.poll_until, lambda: len(one.records) == 500)
    for key in {record.key for record in one.records}:
        numbers = [int(record.value or b"") for record in one.records if record.key == key]
        assert numbers == sorted(numbers)


async def test_send_when_topic_unknown_then_refused(ports: Ports) -> None:
    with pytest.raises(RecordRefused) as caught:
        await ports.producer.send(OutRecord(f"absent-{uuid4().hex}", b"k", b"v"))

    assert caught.value.code == "unknown_topic"


async def test_send_when_record_exceeds_topic_limit_then_refused_and_others_pass(
    ports: Ports,
) -> None:
    with pytest.raises(RecordRefused) as caught:
        await ports.producer.send(OutRecord(ports.topic, b"k", bytes(2_000_000)))

    assert caught.value.code == "record_too_large"
    assert (await ports.producer.send(OutRecord(ports.topic, b"k", b"v"))).offset == 0


async def test_send_soon_when_refused_then_callback_hears_it(ports: Ports) -> None:
    heard: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    ports.producer.send_soon(
        OutRecord(ports.topic, b"k", bytes(2_000_000)), lambda _, error: heard.set_result(error)
    )

    async with asyncio.timeout(PATIENCE_S):
        assert isinstance(await heard, RecordRefused)


async def test_producer_when_stopped_then_twice_is_fine_and_send_is_refused(ports: Ports) -> None:
    await ports.producer.stop()
    await ports.producer.stop()

    with pytest.raises(BrokerFault):
        await ports.producer.send(OutRecord(ports.topic, b"k", b"v"))


async def test_subscribe_when_alone_then_all_partitions_with_no_committed_offset(
    ports: Ports,
) -> None:
    with member(ports) as one:
        await asyncio.to_thread(one.poll_until, lambda: len(one.owned) == PARTITIONS)

    added = {place: at for change in one.changes for place, at in change.added.items()}
    assert added == {TopicPartition(ports.topic, n): -1 for n in range(PARTITIONS)}


async def test_commit_when_member_returns_then_it_starts_there(ports: Ports) -> None:
    await ports.fill(30)
    with member(ports) as first:
        await asyncio.to_thread(first.poll_until, lambda: len(first.records) == 30)
        place = first.records[0].place
        await asyncio.to_thread(first.consumer.commit, {place: 2}, wait=True)
        assert first.consumer.committed([place]) == {place: 2}

    with member(ports) as second:
        in_place = sum(record.place == place for record in first.records)
        await asyncio.to_thread(second.poll_until, lambda: len(second.records) == 28)

    assert second.changes[0].added[place] == 2
    assert sum(record.place == place for record in second.records) == in_place - 2


async def test_commit_when_not_waited_for_then_committed_shows_it_later(ports: Ports) -> None:
    await ports.fill(10)
    with member(ports) as one:
        await asyncio.to_thread(one.poll_until, lambda: len(one.records) == 10)
        place = one.records[0].place

        one.consumer.commit({place: 1}, wait=False)

        await asyncio.to_thread(
            one.poll_until, lambda: one.consumer.committed([place]) == {place: 1}
        )


async def test_pause_when_resumed_then_nothing_is_skipped_or_repeated(ports: Ports) -> None:
    await ports.fill(10)
    with member(ports) as one:
        await asyncio.to_thread(one.poll_until, lambda: len(one.records) == 10)
        one.consumer.pause(sorted(one.owned))
        await ports.fill(20)
        idle_until = time.monotonic() + 0.3
        await asyncio.to_thread(one.poll_until, lambda: time.monotonic() > idle_until)
        assert len(one.records) == 10

        one.consumer.resume(sorted(one.owned))

        await asyncio.to_thread(one.poll_until, lambda: len(one.records) >= 30)
    seen = [(record.place, record.offset) for record in one.records]
    assert len(seen) == len(set(seen)) == 30


async def test_poll_when_records_at_hand_then_at_most_the_asked_number(ports: Ports) -> None:
    await ports.fill(50)
    with member(ports) as one:
        await asyncio.to_thread(one.poll_until, lambda: len(one.records) > 0)

        for _ in range(20):
            assert len(await asyncio.to_thread(one.consumer.poll, 0.05, 3)) <= 3


async def test_end_offsets_when_read_to_the_end_then_next_offsets(ports: Ports) -> None:
    acks = await ports.fill(20)
    with member(ports) as one:
        await asyncio.to_thread(one.poll_until, lambda: len(one.records) == 20)

        places = {TopicPartition(ack.topic, ack.partition) for ack in acks}
        ends = one.consumer.end_offsets(sorted(places))

    assert ends == {
        place: 1 + max(ack.offset for ack in acks if ack.partition == place.partition)
        for place in places
    }


async def test_rebalance_when_second_joins_then_revoked_before_given(ports: Ports) -> None:
    """The first can still commit what it gives up while it hears of the revocation."""
    await ports.fill(30)
    with member(ports) as first:
        await asyncio.to_thread(first.poll_until, lambda: len(first.records) == 30)
        ends = {
            place: 1 + max(r.offset for r in first.records if r.place == place)
            for place in {record.place for record in first.records}
        }

        def commit_revoked(change: Assignment) -> None:
            mine = {place: ends[place] for place in change.revoked if place in ends}
            if mine and not change.lost:
                first.consumer.commit(mine, wait=True)

        first.on_change = commit_revoked
        with member(ports) as second, polling(first):
            await asyncio.to_thread(
                second.poll_until, lambda: len(second.owned) > 0 and not second.owned & first.owned
            )
            gained = {place: at for change in second.changes for place, at in change.added.items()}

            assert len(first.owned) + len(second.owned) == PARTITIONS
            assert gained == {place: ends.get(place, -1) for place in second.owned}
            assert [change.epoch for change in first.changes] == sorted(
                {change.epoch for change in first.changes}
            )
            assert not any(change.lost for change in first.changes)


async def test_close_when_other_remains_then_it_takes_everything(ports: Ports) -> None:
    with member(ports) as stays:
        with member(ports) as leaves, polling(stays):
            await asyncio.to_thread(leaves.poll_until, lambda: len(leaves.owned) > 0)
        leaves.consumer.close()

        assert leaves.owned == set()
        await asyncio.to_thread(stays.poll_until, lambda: len(stays.owned) == PARTITIONS)


async def test_commit_when_partition_is_not_ours_then_left_out(ports: Ports) -> None:
    await ports.fill(10)
    foreign = TopicPartition(ports.topic, 0)
    with member(ports) as one:
        one.consumer.commit({foreign: 5}, wait=True)
        await asyncio.to_thread(one.poll_until, lambda: len(one.owned) == PARTITIONS)

    assert one.changes[0].added[foreign] == -1


async def test_pause_when_rebalanced_then_partitions_that_stay_remain_paused(ports: Ports) -> None:
    with member(ports) as first:
        await asyncio.to_thread(first.poll_until, lambda: len(first.owned) == PARTITIONS)
        first.consumer.pause(sorted(first.owned))
        with member(ports) as second, polling(first):
            await asyncio.to_thread(
                second.poll_until, lambda: len(second.owned) > 0 and len(first.owned) < PARTITIONS
            )
            kept = set(first.owned)
            await ports.fill(60, keys=30)
            await asyncio.to_thread(second.poll_until, lambda: len(second.records) > 0)

            assert not any(record.place in kept for record in first.records)
