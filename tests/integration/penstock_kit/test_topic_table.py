"""`TopicTable` and what stands on it, against a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from penstock.dev.kafka import KafkaNode, kafka_spec
from penstock.dev.ports import PortPicker
from penstock.dev.process import end_group, run_process
from penstock_contracts.credentials import Producer as ProducerCredential
from penstock_contracts.credentials import Scope
from penstock_contracts.topics import CONTROL, CREDENTIALS, Cleanup, Topic
from penstock_kit.auth.api_keys import ApiKeys, make_api_key
from penstock_kit.auth.principal import AuthError
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.auth.table import CredentialTable, credential_record, revoked
from penstock_kit.clock import SystemClock
from penstock_kit.control import Cancel, ControlBoard, cancel_record
from penstock_kit.errors import Fatal
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import Headers, OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings
from penstock_kit.tail.table import TopicTable

from tests.support import waiting

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def compacted(name: str) -> Topic:
    return Topic(
        name=name,
        key="word",
        about="test",
        partitions=3,
        cleanup=Cleanup.COMPACT,
        retention_ms=None,
        messages=("x",),
        written_by=("test",),
        read_by=("test",),
    )


until = partial(waiting.until, within_s=20)


class Words:
    """What a table told, newest per key."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}
        self.headers: dict[str, Headers] = {}

    def __call__(self, key: str, value: bytes | None, headers: Headers) -> None:
        if key == "poison":
            raise ValueError("this reader cannot take it")
        if value is None:
            self.known.pop(key, None)
        else:
            self.known[key] = value
            self.headers[key] = headers


@pytest.fixture
def settings(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_bootstrap)


@pytest.fixture
async def producer(settings: KafkaSettings) -> AsyncIterator[KafkaProducer]:
    made = KafkaProducer(settings)
    await made.start()
    yield made
    await made.stop()


async def test_start_returns_with_everything_and_then_follows(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    topic = f"test.table.{uuid4().hex}"
    await ensure_topics(settings, [compacted(topic)])
    for number in range(500):
        record = OutRecord(topic, b"k%d" % (number % 100), b"%d" % number, [("h", b"1")])
        if number < 499:
            producer.send_soon(record)
        else:
            await producer.send(record)
    await producer.send(OutRecord(topic, b"k7", None))
    words = Words()
    table = TopicTable(settings, topic, words)

    await table.start()

    assert len(words.known) == 99
    assert words.known["k99"] == b"499"
    assert list(words.headers["k99"]) == [("h", b"1")]
    assert table.is_current
    assert table.check() is None
    await producer.send(OutRecord(topic, b"poison", b"x"))
    await producer.send(OutRecord(topic, b"k7", b"again"))
    await until(lambda: words.known.get("k7") == b"again")
    await table.stop()
    await table.stop()
    assert (table.check() or "").startswith(f"topic {topic!r}")


async def test_reader_that_catches_up_knows_all_that_was_written_before(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    topic = f"test.table.{uuid4().hex}"
    await ensure_topics(settings, [compacted(topic)])
    words = Words()
    table = TopicTable(settings, topic, words)
    limit = timedelta(seconds=20)

    assert not await table.catch_up(limit), "it is not started"
    await table.start()
    assert await table.catch_up(limit), "there is nothing to know"
    for number in range(50):
        await producer.send(OutRecord(topic, b"k%d" % (number % 7), b"%d" % number))
        assert await table.catch_up(limit)
        assert words.known[f"k{number % 7}"] == b"%d" % number
    await table.stop()
    assert not await table.catch_up(limit)


async def test_start_on_an_empty_topic_returns_at_once(settings: KafkaSettings) -> None:
    topic = f"test.table.{uuid4().hex}"
    await ensure_topics(settings, [compacted(topic)])
    table = TopicTable(settings, topic, Words())

    async with asyncio.timeout(5):
        await table.start()
    await table.stop()


async def test_start_without_the_topic_is_fatal_and_tells_what_to_do(
    settings: KafkaSettings,
) -> None:
    table = TopicTable(
        settings, f"test.absent.{uuid4().hex}", Words(), missing_limit=timedelta(milliseconds=10)
    )

    with pytest.raises(Fatal, match="penstock topics apply"):
        await table.start()
    await table.stop()


async def test_start_without_a_broker_is_fatal_after_its_limit() -> None:
    settings = KafkaSettings(bootstrap=f"127.0.0.1:{PortPicker().pick()}")
    table = TopicTable(settings, "any", Words(), start_limit=timedelta(milliseconds=50))

    with pytest.raises(Fatal, match="PENSTOCK_KAFKA__BOOTSTRAP"):
        await table.start()
    await table.stop()


async def test_broker_restart_is_survived_without_loss(tmp_path: Path) -> None:
    ports = PortPicker()
    node = KafkaNode(
        data=tmp_path / "kafka", port=ports.pick(), controller_port=ports.pick(), heap="384m"
    )
    settings = KafkaSettings(bootstrap=node.bootstrap)
    process = await asyncio.to_thread(run_process, kafka_spec(node, log=tmp_path / "log"))
    table, words = None, Words()
    producer = KafkaProducer(settings)
    try:
        await ensure_topics(settings, [compacted("words")])
        await producer.start()
        await producer.send(OutRecord("words", b"a", b"1"))
        table = TopicTable(settings, "words", words)
        await table.start()

        await asyncio.to_thread(end_group, process, timeout_s=20)
        process = await asyncio.to_thread(run_process, kafka_spec(node, log=tmp_path / "log"))
        await producer.send(OutRecord("words", b"a", b"2"))
        await producer.send(OutRecord("words", b"b", b"3"))

        await until(lambda: words.known == {"a": b"2", "b": b"3"}, within_s=40)
        await until(lambda: table.age < timedelta(seconds=4), within_s=20)
    finally:
        if table is not None:
            await table.stop()
        await producer.stop()
        await asyncio.to_thread(end_group, process, timeout_s=0)


async def test_credentials_are_known_after_start_and_revoked_within_moments(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    await ensure_topics(settings, [CREDENTIALS])
    key = make_api_key(tenant="acme", user="ann", scope=Scope.USER, now=NOW)
    service = ProducerCredential(id=f"svc-{uuid4().hex}", tenants=["acme"], created_at=NOW)
    for credential in (key.record, service):
        await producer.send(
            credential_record(credential, source="/test", now=NOW, event_id=str(uuid4()))
        )
    keys, producers = ApiKeys(SystemClock()), ProducerKeys(b"s" * 32)
    table = CredentialTable(settings, keys=keys, producers=producers)

    await table.start()
    assert keys.authenticate(key.token).user == "ann"
    assert producers.secret_for(service.id, tenant="acme") is not None
    for credential in (key.record, service):
        await producer.send(
            credential_record(
                revoked(credential, now=NOW), source="/test", now=NOW, event_id=str(uuid4())
            )
        )
    await until(lambda: keys.lapse_of(key.record.id) is not None)
    await until(lambda: producers.secret_for(service.id, tenant="acme") is None)

    with pytest.raises(AuthError, match="revoked"):
        keys.authenticate(key.token)
    await table.stop()


async def test_cancel_reaches_the_board_and_leaves_the_topic_with_its_job(
    settings: KafkaSettings, producer: KafkaProducer
) -> None:
    await ensure_topics(settings, [CONTROL])
    early, late = f"job_{uuid4().hex}", f"job_{uuid4().hex}"
    await producer.send(cancel_record(early, tenant="acme", by="ann", now=NOW))
    board = ControlBoard(settings, producer)
    heard: list[Cancel] = []
    board.on_cancel(heard.append)

    await board.start()
    assert board.is_cancelled(early, "acme")
    assert not board.is_cancelled(early, "beta")
    await producer.send(cancel_record(late, tenant="acme", by="ann", now=NOW))
    await until(lambda: board.is_cancelled(late, "acme"))
    assert Cancel(late, "acme", "ann", NOW) in heard

    other = ControlBoard(settings, producer)
    await other.start()
    board.forget(early)
    assert not board.is_cancelled(early, "acme")
    await until(lambda: not other.is_cancelled(early, "acme"))
    await board.stop()
    await other.stop()
