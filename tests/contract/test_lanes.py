"""The rules of lanes, on Kafka in memory and on a real broker with both rebalance protocols."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest
from penstock_contracts.dead import DeadReason
from penstock_contracts.topics import DEAD
from penstock_kit.errors import Busy, Fatal, Rejected, Retryable
from penstock_kit.kafka.ports import Assignment, OutRecord, Record
from penstock_kit.lanes.engine import DrainCut
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy

from tests.support.kafka_ports import Ports
from tests.support.lanes import Work, number, running, until


async def read_all(ports: Ports, topic: str, count: int) -> list[Record]:
    """Read a topic from its beginning until `count` records of this test are there."""
    consumer = ports.make_consumer(f"{ports.group}-reader")
    found: list[Record] = []

    def ignore(_: Assignment) -> None:
        pass

    def read() -> None:
        consumer.subscribe([topic], ignore)
        for _ in range(1000):
            found.extend(
                record
                for record in consumer.poll(0.05, 100)
                if dict(record.headers).get("penstock_dead_topic") == ports.topic.encode()
            )
            if len(found) >= count:
                break
        consumer.close()

    await asyncio.to_thread(read)
    return found


async def test_records_nobody_wants_reach_no_handler_and_are_committed(
    kafka_ports: Ports,
) -> None:
    work = Work()
    await kafka_ports.fill(50, keys=5)
    async with running(
        kafka_ports, work, is_wanted=lambda record: int(record.value or b"0") % 10 == 0
    ) as lanes:
        await until(lambda: len(work.done) == 5 and lanes.stats.lag == 0)

    again = Work()
    async with running(kafka_ports, again):
        await kafka_ports.fill(1, start=50)
        await until(lambda: len(again.done) == 1)

    assert work.numbers == [0, 10, 20, 30, 40]
    assert again.numbers == [50]


async def test_order_when_many_keys_then_in_order_per_key_and_keys_in_parallel(
    kafka_ports: Ports,
) -> None:
    async def pause(_: Delivery) -> Outcome:
        await asyncio.sleep(0.002)
        return Done()

    work = Work(pause)
    await kafka_ports.fill(200, keys=10)
    async with running(kafka_ports, work):
        await until(lambda: len(work.done) == 200)

    by_key: dict[bytes | None, list[int]] = {}
    for delivery in work.done:
        by_key.setdefault(delivery.record.key, []).append(number(delivery))
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert 1 < work.most_at_once <= 10


async def test_commit_when_one_record_is_slow_then_offset_waits_for_it(kafka_ports: Ports) -> None:
    gate = asyncio.Event()

    async def first_is_slow(delivery: Delivery) -> Outcome:
        if number(delivery) == 0:
            await gate.wait()
        return Done()

    await kafka_ports.fill(50)
    work = Work(first_is_slow)
    async with running(
        kafka_ports, work, policy=LanePolicy(drain_timeout=timedelta(seconds=1))
    ) as lanes:
        # The key of the slow record has five records; the four behind it wait.
        await until(lambda: len(work.done) == 45)
        assert lanes.stats.in_flight == 1
        slow = work.begun[[number(d) for d in work.begun].index(0)].record
        with pytest.raises(DrainCut):
            await lanes.stop()

    again = Work()
    async with running(kafka_ports, again):
        await until(lambda: any(number(delivery) == 0 for delivery in again.done))
        await until(lambda: len({number(d) for d in [*work.done, *again.done]}) == 50)
    gate.set()

    assert all(delivery.record.place == slow.place for delivery in again.done), (
        "partitions without a gap were committed whole"
    )
    assert all(delivery.is_suspect for delivery in again.done)


async def test_stop_when_handlers_run_then_they_finish_and_nothing_is_repeated(
    kafka_ports: Ports,
) -> None:
    gate = asyncio.Event()

    async def wait(_: Delivery) -> Outcome:
        await gate.wait()
        return Done()

    await kafka_ports.fill(60, keys=60)
    work = Work(wait)
    async with running(kafka_ports, work, policy=LanePolicy(max_in_flight=5)) as lanes:
        await until(lambda: len(work.begun) == 5)
        stopping = asyncio.create_task(lanes.stop())
        await asyncio.sleep(0)
        gate.set()
        await stopping
        await lanes.stop()

    assert (len(work.begun), len(work.done), work.cancelled) == (5, 5, 0)
    rest = Work()
    async with running(kafka_ports, rest):
        await until(lambda: set(work.numbers) | set(rest.numbers) == set(range(60)))


async def test_rebalance_when_second_joins_then_nothing_lost_and_no_handler_cancelled(
    kafka_ports: Ports,
) -> None:
    async def pause(_: Delivery) -> Outcome:
        await asyncio.sleep(0.02)
        return Done()

    first, second = Work(pause), Work(pause)
    policy = LanePolicy(max_in_flight=4)
    await kafka_ports.fill(150, keys=30)
    async with running(kafka_ports, first, policy=policy) as one:
        await until(lambda: len(first.done) > 5)
        async with running(kafka_ports, second, policy=policy) as two:
            await until(lambda: two.stats.assigned > 0)
            await kafka_ports.fill(150, keys=30, start=150)
            await until(lambda: {*first.numbers, *second.numbers} == set(range(300)))
            assert one.stats.assigned + two.stats.assigned == 3

    assert second.done
    assert first.cancelled == second.cancelled == 0
    assert len(first.done) + len(second.done) == 300, "a graceful hand-over repeats nothing"


async def test_withdraw_when_records_wait_then_they_are_the_callers(kafka_ports: Ports) -> None:
    gate = asyncio.Event()

    async def wait(_: Delivery) -> Outcome:
        await gate.wait()
        return Done()

    await kafka_ports.fill(30, keys=30)
    work = Work(wait)
    async with running(kafka_ports, work, policy=LanePolicy(max_in_flight=2)) as lanes:
        await until(lambda: len(work.begun) == 2 and lanes.stats.queued == 28)
        running_now = {number(delivery) for delivery in work.begun}

        withdrawn = await lanes.withdraw(lambda record: int(record.value or b"") < 20)

        assert {number(d) for d in withdrawn} == set(range(20)) - running_now
        assert await lanes.withdraw(lambda record: int(record.value or b"") < 20) == []
        gate.set()
        await until(lambda: len(work.done) == 30 - len(withdrawn))
        await until(lambda: lanes.stats.lag > 0)
        for delivery in withdrawn:
            lanes.finish(delivery, Done())
            lanes.finish(delivery, Done())
        await until(lambda: lanes.stats.lag == 0)

    assert {number(d) for d in work.done} | {number(d) for d in withdrawn} == set(range(30))


async def test_rejected_when_raised_then_dead_letter_holds_original_bytes(
    kafka_ports: Ports,
) -> None:
    async def reject(delivery: Delivery) -> Outcome:
        if delivery.record.key == b"bad":
            raise Rejected("the body is no JSON", code="malformed_json")
        return Done()

    headers = [("ce_id", b"\x00\xff"), ("twice", b"1"), ("twice", b"2")]
    await kafka_ports.producer.send(OutRecord(kafka_ports.topic, b"good", b"1"))
    ack = await kafka_ports.producer.send(
        OutRecord(kafka_ports.topic, b"bad", b"\xfe\x00{broken", headers)
    )
    work = Work(reject)
    async with running(kafka_ports, work) as lanes:
        await until(lambda: len(work.begun) == 2 and lanes.stats.in_flight == 0)

    [letter] = await read_all(kafka_ports, DEAD.name, 1)
    assert (letter.key, letter.value) == (b"bad", b"\xfe\x00{broken")
    assert list(letter.headers)[:3] == headers
    added = dict(list(letter.headers)[3:])
    assert added["penstock_dead_reason"] == DeadReason.POISON.value.encode()
    assert added["penstock_dead_code"] == b"malformed_json"
    assert added["penstock_dead_offset"] == str(ack.offset).encode()
    assert added["penstock_dead_by"] == b"test"


async def test_dead_when_record_is_as_large_as_its_topic_allows_then_still_whole(
    kafka_ports: Ports,
) -> None:
    body = bytes(1_048_000)

    async def bury(_: Delivery) -> Outcome:
        return Dead(DeadReason.FAILURE, "gave_up", "x" * 5000, attempts=3)

    await kafka_ports.producer.send(OutRecord(kafka_ports.topic, b"big", body))
    work = Work(bury)
    async with running(kafka_ports, work) as lanes:
        await until(lambda: len(work.done) == 1 and lanes.stats.in_flight == 0)

    [letter] = await read_all(kafka_ports, DEAD.name, 1)
    assert letter.value == body


async def test_retryable_when_raised_then_tried_in_place_and_key_waits(kafka_ports: Ports) -> None:
    async def fail_twice(delivery: Delivery) -> Outcome:
        if number(delivery) == 0 and delivery.deliveries < 3:
            raise Retryable("the provider is away")
        return Done()

    await kafka_ports.fill(3, keys=1)
    work = Work(fail_twice)
    async with running(kafka_ports, work):
        await until(lambda: len(work.done) == 3)

    assert [number(delivery) for delivery in work.begun] == [0, 0, 0, 1, 2]
    assert [delivery.deliveries for delivery in work.begun] == [1, 2, 3, 1, 1]


@pytest.mark.parametrize("error", [Retryable("away"), ValueError("secret prompt")])
async def test_retryable_when_attempts_used_up_then_dead_letter_as_failure(
    kafka_ports: Ports, error: Exception
) -> None:
    async def fail(_: Delivery) -> Outcome:
        raise error

    await kafka_ports.fill(1)
    work = Work(fail)
    async with running(kafka_ports, work) as lanes:
        await until(lambda: len(work.begun) == 3 and lanes.stats.in_flight == 0)

    [letter] = await read_all(kafka_ports, DEAD.name, 1)
    added = dict(letter.headers)
    assert added["penstock_dead_reason"] == DeadReason.FAILURE.value.encode()
    assert added["penstock_dead_attempts"] == b"3"
    assert b"secret" not in added["penstock_dead_detail"]


async def test_busy_when_raised_often_then_nothing_is_counted(kafka_ports: Ports) -> None:
    async def busy(delivery: Delivery) -> Outcome:
        if delivery.deliveries < 6:
            raise Busy("full", retry_after_s=0.001)
        return Done()

    await kafka_ports.fill(1)
    work = Work(busy)
    async with running(kafka_ports, work):
        await until(lambda: len(work.done) == 1)

    assert len(work.begun) == 6


async def test_fatal_when_raised_then_reported_and_record_stays(kafka_ports: Ports) -> None:
    async def die(_: Delivery) -> Outcome:
        raise Fatal("the ledger contradicts itself")

    await kafka_ports.fill(1)
    faults: list[Fatal] = []
    async with running(kafka_ports, Work(die), faults=faults) as lanes:
        await until(lambda: len(faults) == 1)
        assert lanes.problem() == "the ledger contradicts itself"

    again = Work()
    async with running(kafka_ports, again):
        await until(lambda: len(again.done) == 1)


async def test_pause_when_resumed_then_everything_once(kafka_ports: Ports) -> None:
    work = Work()
    async with running(kafka_ports, work) as lanes:
        await until(lambda: lanes.stats.assigned == 3)
        lanes.pause()
        await kafka_ports.fill(40)
        await until(lambda: lanes.stats.paused == 3)
        begun = len(work.begun)
        await kafka_ports.fill(10, start=40)
        assert len(work.begun) == begun

        lanes.resume()

        await until(lambda: len(work.done) == 50)
    assert work.numbers == list(range(50))


async def test_queue_when_full_then_partition_pauses_and_goes_on_later(kafka_ports: Ports) -> None:
    gate = asyncio.Event()

    async def wait(_: Delivery) -> Outcome:
        await gate.wait()
        return Done()

    policy = LanePolicy(max_in_flight=1, queue_per_partition=20)
    await kafka_ports.fill(300, keys=50)
    work = Work(wait)
    async with running(kafka_ports, work, policy=policy) as lanes:
        await until(lambda: lanes.stats.paused == 3)
        gate.set()
        await until(lambda: len(work.done) == 300)
        await until(lambda: lanes.stats.paused == 0)
    assert work.numbers == list(range(300))


async def test_suspect_window_when_head_is_stuck_then_nothing_starts_beyond_it(
    kafka_ports: Ports,
) -> None:
    """A successor would call later records unsuspicious, so they must not have begun."""
    gate = asyncio.Event()
    policy = LanePolicy(span_cap=10, queue_per_partition=10, max_in_flight=500)

    async def head_waits(delivery: Delivery) -> Outcome:
        if delivery.record.offset == 0:
            await gate.wait()
        return Done()

    await kafka_ports.fill(300, keys=300)
    work = Work(head_waits)
    async with running(kafka_ports, work, policy=policy) as lanes:
        await until(lambda: lanes.stats.span >= 3 * 10 and lanes.stats.paused == 3)
        assert max(delivery.record.offset for delivery in work.begun) < 20
        gate.set()
        await until(lambda: len(work.done) == 300)
    assert work.numbers == list(range(300))


async def test_crash_when_a_record_is_stuck_then_what_finished_beyond_it_is_not_repeated(
    kafka_ports: Ports,
) -> None:
    """Only the stuck record and its key wait; nothing else runs again under the next owner."""
    gate = asyncio.Event()

    async def first_is_stuck(delivery: Delivery) -> Outcome:
        if number(delivery) == 0:
            await gate.wait()
        return Done()

    await kafka_ports.fill(50)
    work = Work(first_is_stuck)
    policy = LanePolicy(drain_timeout=timedelta(milliseconds=100))
    async with running(kafka_ports, work, policy=policy) as lanes:
        await until(lambda: len(work.done) == 45)
        with pytest.raises(DrainCut):
            await lanes.stop()

    again = Work()
    async with running(kafka_ports, again) as successor:
        await until(lambda: len(again.done) >= 5)
        await until(lambda: successor.stats.queued == 0 and successor.stats.in_flight == 0)
    assert sorted({number(d) for d in [*work.done, *again.done]}) == list(range(50))
    assert len(again.done) == 5


async def test_stats_when_some_is_done_then_work_left_tells_seconds(kafka_ports: Ports) -> None:
    gate = asyncio.Event()

    async def later_ones_wait(delivery: Delivery) -> Outcome:
        await asyncio.sleep(0.02)
        if number(delivery) >= 20:
            await gate.wait()
        return Done()

    await kafka_ports.fill(60, keys=60)
    work = Work(later_ones_wait)
    async with running(kafka_ports, work, policy=LanePolicy(max_in_flight=10)) as lanes:
        await until(lambda: len(work.done) > 0 and lanes.stats.lag > 0)
        left = lanes.stats.work_left_s[kafka_ports.topic]
        assert 0.001 <= left <= 60 * 10
        assert lanes.stats.limit == 10
        gate.set()
        await until(lambda: lanes.stats.lag == 0)
        assert lanes.stats.work_left_s == {kafka_ports.topic: 0.0}


async def test_adaptive_when_the_dependency_is_busy_then_fewer_at_once_and_more_again(
    kafka_ports: Ports,
) -> None:
    bears = 5

    async def full_beyond(delivery: Delivery) -> Outcome:
        if work.at_once > bears and delivery.deliveries == 1:
            raise Busy("full", retry_after_s=0.001)
        await asyncio.sleep(0.005)
        return Done()

    def has_done(count: int) -> bool:
        return len(work.done) == count

    work = Work(full_beyond)
    await kafka_ports.fill(300, keys=300)
    policy = LanePolicy(max_in_flight=50, adaptive=True)
    async with running(kafka_ports, work, policy=policy) as lanes:
        await until(lambda: lanes.stats.limit < 25)
        bears = 1000
        await until(lambda: len(work.done) == 300)
        total = 300
        while lanes.stats.limit < 50:  # it grows with what ends, slowly on a machine that is busy
            await kafka_ports.fill(300, keys=300, start=total)
            total += 300
            await until(partial(has_done, total))
    assert work.numbers[:300] == list(range(300))
