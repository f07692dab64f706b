"""The real producer without a broker: bounded, honest, and it stops."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta

import pytest
from confluent_kafka import KafkaError
from penstock_kit.errors import PenstockError
from penstock_kit.kafka.errors import delivery_error
from penstock_kit.kafka.ports import (
    Ack,
    BrokerFault,
    DeliveryUnknown,
    OutRecord,
    ProducerFull,
    RecordRefused,
)
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings


@pytest.fixture
def nowhere() -> KafkaSettings:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return KafkaSettings(bootstrap=f"127.0.0.1:{port}", delivery_timeout=timedelta(seconds=1))


async def test_send_when_no_broker_then_unknown_after_the_delivery_timeout(
    nowhere: KafkaSettings,
) -> None:
    producer = KafkaProducer(nowhere)
    await producer.start()

    async with asyncio.timeout(20):
        with pytest.raises(DeliveryUnknown):
            await producer.send(OutRecord("t", b"k", b"v"))

    await producer.stop(0.1)


async def test_stop_when_records_are_outstanding_then_their_senders_hear_unknown(
    nowhere: KafkaSettings,
) -> None:
    producer = KafkaProducer(nowhere)
    await producer.start()
    heard: list[Exception | None] = []

    def on_ack(_: Ack | None, error: Exception | None) -> None:
        heard.append(error)

    producer.send_soon(OutRecord("t", b"k", b"v"), on_ack)
    await producer.stop(0.1)
    await asyncio.sleep(0)

    assert [type(error) for error in heard] == [DeliveryUnknown]


async def test_stop_when_no_broker_answered_the_last_record_then_does_not_wait_for_the_next(
    nowhere: KafkaSettings,
) -> None:
    producer = KafkaProducer(nowhere.model_copy(update={"delivery_timeout": timedelta(seconds=6)}))
    await producer.start()
    with pytest.raises(DeliveryUnknown):
        await producer.send(OutRecord("t", b"k", b"v"))

    producer.send_soon(OutRecord("t", b"k", b"v"))
    async with asyncio.timeout(5):
        await producer.stop(60)


async def test_send_when_queue_is_full_then_says_so(nowhere: KafkaSettings) -> None:
    producer = KafkaProducer(nowhere)
    await producer.start()
    record = OutRecord("t", b"k", bytes(1_000_000))

    def fill() -> None:
        for _ in range(100):
            producer.send_soon(record, lambda _, __: None)

    with pytest.raises(ProducerFull):
        fill()

    await producer.stop(0.1)


async def test_send_when_cancelled_then_late_answer_disturbs_nobody(nowhere: KafkaSettings) -> None:
    producer = KafkaProducer(nowhere)
    await producer.start()
    sending = asyncio.create_task(producer.send(OutRecord("t", b"k", b"v")))
    await asyncio.sleep(0)

    sending.cancel()
    await asyncio.wait({sending})
    await producer.stop(0.1)

    assert sending.cancelled()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordRefused),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, RecordRefused),
        (KafkaError._MSG_TIMED_OUT, DeliveryUnknown),
        (KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, DeliveryUnknown),
        (KafkaError.SASL_AUTHENTICATION_FAILED, BrokerFault),
    ],
)
def test_delivery_error_when_code_known_then_family_of_the_port(
    code: int, expected: type[PenstockError]
) -> None:
    assert type(delivery_error(KafkaError(code), "t")) is expected
