from __future__ import annotations

from datetime import datetime, timezone

import pytest
from penstock_contracts.control import ControlRule, Selector
from penstock_contracts.envelope import decode_event
from penstock_contracts.topics import CONTROL
from penstock_kit.control import Cancel, ControlBoard, cancel_record
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.memory_producer import MemoryProducer
from penstock_kit.kafka.ports import OutRecord, ProducerFull
from penstock_kit.settings import KafkaSettings

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def kafka() -> MemoryKafka:
    return MemoryKafka([CONTROL])


@pytest.fixture
async def producer(kafka: MemoryKafka) -> MemoryProducer:
    made = kafka.producer()
    await made.start()
    return made


def board_of(producer: MemoryProducer, *, max_cancels: int = 10) -> ControlBoard:
    return ControlBoard(KafkaSettings(bootstrap="x:1"), producer, max_cancels=max_cancels)


def apply(board: ControlBoard, record: OutRecord) -> None:
    board.apply((record.key or b"").decode(), record.value, record.headers)


def test_cancel_record_is_a_cloudevent_under_the_jobs_key() -> None:
    record = cancel_record("job_1", tenant="acme", by="ann", now=NOW)

    envelope, _ = decode_event(record.headers, record.value)
    assert record.key == b"cancel:job_1"
    assert (envelope.type, envelope.subject) == ("penstock.control.v1", "job_1")
    assert (envelope.tenant, envelope.user, envelope.time) == ("acme", "ann", NOW)


async def test_cancel_counts_for_its_own_tenant_only(producer: MemoryProducer) -> None:
    board = board_of(producer)

    apply(board, cancel_record("job_1", tenant="beta", by="eve", now=NOW))
    assert not board.is_cancelled("job_1", "acme")
    assert board.cancel_of("job_1", "acme") is None
    apply(board, cancel_record("job_1", tenant="acme", by="ann", now=NOW))
    apply(board, cancel_record("job_1", tenant="beta", by="eve", now=NOW))

    assert board.cancel_of("job_1", "acme") == Cancel("job_1", "acme", "ann", NOW)


async def test_callback_hears_each_cancel_once(producer: MemoryProducer) -> None:
    board, heard = board_of(producer), list[Cancel]()
    board.on_cancel(heard.append)
    record = cancel_record("job_1", tenant="acme", by=None, now=NOW)

    apply(board, record)
    apply(board, record)

    assert heard == [Cancel("job_1", "acme", None, NOW)]


async def test_forget_writes_the_tombstone_once(
    kafka: MemoryKafka, producer: MemoryProducer
) -> None:
    board = board_of(producer)
    apply(board, cancel_record("job_1", tenant="acme", by=None, now=NOW))

    board.forget("job_1")
    board.forget("job_1")
    board.forget("job_2")

    (tombstone,) = kafka.records(CONTROL.name)
    assert (tombstone.key, tombstone.value) == (b"cancel:job_1", None)
    assert not board.is_cancelled("job_1", "acme")


async def test_forget_does_not_need_the_broker(
    kafka: MemoryKafka, producer: MemoryProducer
) -> None:
    board = board_of(producer)
    apply(board, cancel_record("job_1", tenant="acme", by=None, now=NOW))
    kafka.faults.on_send = lambda _record: ProducerFull("full; wait")

    board.forget("job_1")

    assert not board.is_cancelled("job_1", "acme")


async def test_tombstone_takes_the_cancel_back(producer: MemoryProducer) -> None:
    board = board_of(producer)
    apply(board, cancel_record("job_1", tenant="acme", by=None, now=NOW))

    board.apply("cancel:job_1", None)
    board.apply("rule:unknown", None)

    assert not board.is_cancelled("job_1", "acme")


async def test_memory_is_bounded_and_the_oldest_go_first(producer: MemoryProducer) -> None:
    board = board_of(producer, max_cancels=3)

    for number in range(5):
        apply(board, cancel_record(f"job_{number}", tenant="acme", by=None, now=NOW))

    assert [board.is_cancelled(f"job_{n}", "acme") for n in range(5)] == [False] * 2 + [True] * 3


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"type":"cancel"}', b"\xff", b"null"])
async def test_broken_record_changes_nothing(producer: MemoryProducer, value: bytes) -> None:
    board = board_of(producer)
    apply(board, cancel_record("job_1", tenant="acme", by=None, now=NOW))

    board.apply("cancel:job_1", value)

    assert board.is_cancelled("job_1", "acme")


async def test_record_under_a_foreign_key_and_rules_are_passed_over(
    producer: MemoryProducer,
) -> None:
    board = board_of(producer)
    record = cancel_record("job_1", tenant="acme", by=None, now=NOW)
    rule = ControlRule(name="r", action="pause", selector=Selector(), at=NOW)

    board.apply("cancel:job_2", record.value)
    board.apply("rule:r", rule.model_dump_json().encode())

    assert not board.is_cancelled("job_1", "acme")
    assert not board.is_cancelled("job_2", "acme")
