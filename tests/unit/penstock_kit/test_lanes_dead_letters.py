"""A dead letter is never lost because it has grown."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from penstock_contracts.dead import DeadReason
from penstock_contracts.topics import DEAD, LARGEST_RECORD_BYTES
from penstock_kit.clock import SystemClock
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import (
    BrokerFault,
    DeliveryUnknown,
    OutRecord,
    ProducerFull,
    Record,
    RecordRefused,
)
from penstock_kit.lanes.dead_letters import DeadLetters
from penstock_kit.lanes.outcomes import Dead
from penstock_kit.telemetry.redaction import Redactor

DEATH = Dead(DeadReason.POISON, "malformed_json", "d" * 1000)


async def written(kafka: MemoryKafka, record: Record) -> list[Record]:
    producer = kafka.producer()
    await producer.start()
    await DeadLetters(producer, clock=SystemClock(), by="test").write(record, DEATH)
    return kafka.records(DEAD.name)


def record_of(value: bytes) -> Record:
    return Record("t", 1, 2, b"key", value, [("h", b"1")])


async def test_write_when_it_fits_then_original_and_full_reason() -> None:
    [letter] = await written(MemoryKafka([DEAD]), record_of(b"body"))

    assert (letter.key, letter.value, letter.headers[0]) == (b"key", b"body", ("h", b"1"))
    assert len(dict(letter.headers)["penstock_dead_detail"]) == 1000


async def test_write_when_reason_makes_it_too_large_then_reason_is_shortened() -> None:
    body = bytes(LARGEST_RECORD_BYTES - 900)

    [letter] = await written(MemoryKafka([DEAD]), record_of(body))

    headers = dict(letter.headers)
    assert letter.value == body
    assert headers["penstock_dead_shortened"] == b"detail"
    assert len(headers["penstock_dead_detail"]) == 64


async def test_write_when_body_alone_is_too_large_then_its_place_and_hash_remain() -> None:
    body = bytes(2 * LARGEST_RECORD_BYTES)

    [letter] = await written(MemoryKafka([DEAD]), record_of(body))

    headers = dict(letter.headers)
    assert letter.value is None
    assert headers["penstock_dead_shortened"] == b"body"
    assert headers["penstock_dead_body_sha256"] == hashlib.sha256(body).hexdigest().encode()
    assert (headers["penstock_dead_topic"], headers["penstock_dead_offset"]) == (b"t", b"2")


async def test_write_when_broker_is_slow_then_it_keeps_trying() -> None:
    kafka = MemoryKafka([DEAD])
    troubles: list[Exception] = [ProducerFull("full"), DeliveryUnknown("no ack")]

    def fail_twice(_: OutRecord) -> Exception | None:
        return troubles.pop() if troubles else None

    kafka.faults.on_send = fail_twice

    assert len(await written(kafka, record_of(b"body"))) == 1


async def test_write_when_producer_is_dead_then_raised() -> None:
    kafka = MemoryKafka([DEAD])
    kafka.faults.on_send = lambda _: BrokerFault("fenced")

    with pytest.raises(BrokerFault):
        await written(kafka, record_of(b"body"))


async def test_write_when_topic_is_missing_then_refused() -> None:
    with pytest.raises(RecordRefused, match="does not exist"):
        await written(MemoryKafka(), record_of(b"body"))


async def test_write_when_the_answer_holds_a_secret_then_it_is_taken_out() -> None:
    kafka = MemoryKafka([DEAD])
    producer = kafka.producer()
    await producer.start()
    dead = replace(DEATH, answer="401 key sk-abcdef123456 is wrong, canary-of-this-process")
    letters = DeadLetters(
        producer, clock=SystemClock(), by="test", redactor=Redactor(["canary-of-this-process"])
    )

    await letters.write(record_of(b"body"), dead)

    [letter] = kafka.records(DEAD.name)
    assert dict(letter.headers)["penstock_dead_answer"] == (
        b"401 key [redacted] is wrong, [redacted]"
    )
