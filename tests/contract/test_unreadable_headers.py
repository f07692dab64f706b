"""A record with a header whose name is not UTF-8 passes every reader and stops none."""

from __future__ import annotations

import asyncio

import pytest
from penstock_contracts.dead import DeadReason, read_dead_letter
from penstock_contracts.envelope import UNREADABLE_HEADERS, decode_event
from penstock_contracts.errors import NotACloudEvent
from penstock_contracts.topics import DEAD
from penstock_kit.clock import SystemClock
from penstock_kit.errors import Fatal, Rejected
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.ports import Headers, Record
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.kafka.scan import KafkaScan
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome
from penstock_kit.settings import KafkaSettings
from penstock_kit.tail.events import EventTail
from penstock_kit.tail.settings import TailSettings
from penstock_kit.tail.table import TopicTable
from penstock_kit.telemetry.metrics import Metrics

from tests.support.raw_records import BAD_NAME, kafka_mock, write_batch
from tests.support.waiting import until

__all__ = ["kafka_mock"]

TOPIC = "unreadable"
_MANY = 200
"""So many records come before: by then CPython takes its quick way to call `headers`, on which an
error is not noticed at once."""
_GOOD = [("ok", b"1")]
_BAD = [("ok", b"1"), (BAD_NAME, b"1")]
_WITHIN_S = 30.0


async def _write_all(bootstrap: str) -> None:
    many = [(b"k%d" % n, b"v%d" % n, _GOOD) for n in range(_MANY)]
    await write_batch(bootstrap, TOPIC, many)
    await _write_bad_and(bootstrap, b"last")


async def _write_bad_and(bootstrap: str, key: bytes) -> None:
    await write_batch(bootstrap, TOPIC, [(b"odd", b"odd", _BAD)])
    await write_batch(bootstrap, TOPIC, [(key, b"good", _GOOD)])


def _all() -> list[tuple[bytes, Headers]]:
    many: list[tuple[bytes, Headers]] = [(b"v%d" % n, _GOOD) for n in range(_MANY)]
    return [*many, (b"odd", list(UNREADABLE_HEADERS)), (b"good", _GOOD)]


def _read_group(settings: KafkaSettings) -> list[Record]:
    consumer, clock = GroupConsumer(settings, "readers"), SystemClock()
    consumer.subscribe([TOPIC], lambda _: None)
    found: list[Record] = []
    until_s = clock.monotonic() + _WITHIN_S
    while len(found) < len(_all()) and clock.monotonic() < until_s:
        found += consumer.poll(0.2, 500)
    consumer.close()
    return found


async def test_group_consumer_gives_the_record_without_its_headers(kafka_mock: str) -> None:
    await _write_all(kafka_mock)

    found = await asyncio.to_thread(_read_group, KafkaSettings(bootstrap=kafka_mock))

    assert [(record.value, list(record.headers)) for record in found] == _all()


async def test_scan_gives_the_record_without_its_headers(kafka_mock: str) -> None:
    await _write_all(kafka_mock)

    scan = KafkaScan(KafkaSettings(bootstrap=kafka_mock))
    found = [record async for batch in scan.batches([TOPIC]) for record in batch.records]

    assert [(record.value, list(record.headers)) for record in found] == _all()


def test_decode_event_when_headers_were_unreadable_says_so() -> None:
    with pytest.raises(NotACloudEvent, match="not UTF-8"):
        decode_event(UNREADABLE_HEADERS, b"{}")


async def test_lanes_dead_letter_the_record_with_its_bytes_and_go_on(kafka_mock: str) -> None:
    await _write_all(kafka_mock)
    settings = KafkaSettings(bootstrap=kafka_mock)
    producer = KafkaProducer(settings)
    done: list[bytes | None] = []
    faults: list[Fatal] = []

    async def handle(delivery: Delivery) -> Outcome:
        if delivery.record.headers != _GOOD:
            _refuse(delivery.record)
        done.append(delivery.record.value)
        return Done()

    lanes = Lanes(
        consumer=GroupConsumer(settings, "lanes"),
        producer=producer,
        handler=handle,
        topics=[TOPIC],
        on_fatal=faults.append,
        name="test",
    )
    await producer.start()
    await lanes.start()
    await until(lambda: faults or (b"good" in done and lanes.stats.lag == 0), within_s=_WITHIN_S)
    await lanes.stop()
    await producer.stop()

    assert not faults
    assert len(done) == _MANY + 1
    scan = KafkaScan(settings)
    (letter,) = [r async for batch in scan.batches([DEAD.name]) for r in batch.records]
    assert (letter.key, letter.value) == (b"odd", b"odd")
    dead = read_dead_letter(letter.headers)
    assert dead is not None
    assert (dead.reason, dead.code) == (DeadReason.POISON, "not_a_cloudevent")


def _refuse(record: Record) -> None:
    """As the intake does."""
    try:
        decode_event(record.headers, record.value)
    except NotACloudEvent as error:
        raise Rejected(str(error), code=error.code) from error


async def test_table_passes_the_batch_at_its_start_and_later(kafka_mock: str) -> None:
    await _write_all(kafka_mock)
    seen: dict[str, bytes | None] = {}

    def note(key: str, value: bytes | None, headers: Headers) -> None:  # noqa: ARG001 - the port's
        seen[key] = value

    table = TopicTable(KafkaSettings(bootstrap=kafka_mock), TOPIC, note)
    await table.start()
    at_start = dict(seen)
    await _write_bad_and(kafka_mock, b"later")
    await until(lambda: "later" in seen, within_s=_WITHIN_S)
    await table.stop()

    assert at_start["last"] == b"good"
    assert len(at_start) == _MANY + 2


async def test_tail_counts_the_batch_and_goes_on(kafka_mock: str) -> None:
    await _write_all(kafka_mock)
    metrics = Metrics()

    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(f"penstock_{name}", labels) or 0.0

    tail = EventTail(
        KafkaSettings(bootstrap=kafka_mock),
        TailSettings(),
        clock=SystemClock(),
        metrics=metrics,
        topic=TOPIC,
    )
    await tail.start()
    read = value("tail_events_total")
    await _write_bad_and(kafka_mock, b"later")
    await until(lambda: value("tail_events_total") == read + 2, within_s=_WITHIN_S)
    await tail.stop()

    assert value("tail_malformed_records_total", reason="unknown_type") == read + 2
    assert value("tail_rebuilds_total") == 0
