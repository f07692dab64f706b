from __future__ import annotations

from pathlib import Path

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from penstock.dev.kafka import is_broker_ready
from redis import Redis

from tests.support.broker import native_broker
from tests.support.redis_server import native_redis


def test_kafka_after_restart_on_another_port_keeps_its_records(tmp_path: Path) -> None:
    with native_broker(tmp_path, stop_timeout_s=20) as first:
        admin = AdminClient({"bootstrap.servers": first.bootstrap})
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
        producer = Producer({"bootstrap.servers": first.bootstrap})
        producer.produce("kept", b"still here")
        assert producer.flush(20) == 0

    with native_broker(tmp_path) as second:
        settings = {"group.id": "reader", "auto.offset.reset": "earliest"}
        consumer = Consumer({"bootstrap.servers": second.bootstrap, **settings})
        consumer.subscribe(["kept"])
        message = consumer.poll(20)
        consumer.close()

    assert message is not None
    assert message.value() == b"still here"
    assert second.port != first.port
    assert not is_broker_ready(second.bootstrap, second.port)


def test_shared_broker_answers_requests(kafka_bootstrap: str) -> None:
    port = int(kafka_bootstrap.rpartition(":")[2])

    assert is_broker_ready(kafka_bootstrap, port)


def test_shared_redis_refuses_to_evict(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_redis_that_keeps_after_restart_has_its_keys(tmp_path: Path) -> None:
    with native_redis(tmp_path, keep=True) as url, Redis.from_url(url) as client:
        client.set("key", "kept")

    with native_redis(tmp_path, keep=True) as url, Redis.from_url(url) as client:
        assert client.get("key") == b"kept"
