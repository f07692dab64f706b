"""Topics full of numbered messages: 1 KiB each, round robin over the keys."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from uuid import uuid4

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # stubs

__all__ = ["PARTITIONS", "fill_topic", "make_topic", "message", "paced"]

PARTITIONS = 8
_HEAD = struct.Struct("<IIB")
_BODY = bytes(1024 - _HEAD.size)


def message(key: int, place: int, *, slow: bool = False) -> bytes:
    """A value of 1 KiB."""
    return _HEAD.pack(key, place, slow) + _BODY


def make_topic(bootstrap: str, *, partitions: int = PARTITIONS) -> str:
    """A fresh topic."""
    name = f"bench-lanes-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1)])
    made[name].result(30)
    return name


def fill_topic(bootstrap: str, *, count: int, keys: int) -> str:
    """A topic with `count` messages, all acknowledged."""
    topic = make_topic(bootstrap)
    producer = _producer(bootstrap)
    for n in range(count):
        key, place = n % keys, n // keys
        while True:
            try:
                producer.produce(topic, message(key, place), b"key-%d" % key)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    _flush(producer)
    return topic


def paced(
    bootstrap: str,
    topic: str,
    *,
    rate: float,
    count: int,
    key_of: Callable[[int], int],
    is_slow: Callable[[int], bool] = lambda _: False,
    until: Callable[[], bool] = lambda: False,
) -> dict[tuple[int, int], tuple[int, int]]:
    """Produce open loop at `rate`; (key, place) -> (intended nanoseconds, partition)."""
    producer = _producer(bootstrap)
    places: dict[int, int] = {}
    sent: dict[tuple[int, int], tuple[int, int]] = {}

    def on_delivery(which: tuple[int, int], at: int) -> Callable[..., None]:
        def note(_: object, delivered: confluent_kafka.Message) -> None:
            sent[which] = (at, delivered.partition() or 0)

        return note

    begin = time.monotonic_ns() + 50_000_000
    for n in range(count):
        if until():
            break
        due = begin + int(n * 1e9 / rate)
        while (ahead := due - time.monotonic_ns()) > 0:
            producer.poll(min(ahead / 1e9, 0.005))
        key = key_of(n)
        place = places.get(key, 0)
        places[key] = place + 1
        producer.produce(
            topic,
            message(key, place, slow=is_slow(n)),
            b"key-%d" % key,
            on_delivery=on_delivery((key, place), due),
        )
    _flush(producer)
    return sent


def _producer(bootstrap: str) -> confluent_kafka.Producer:
    return confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 1,
        }
    )


def _flush(producer: confluent_kafka.Producer) -> None:
    left = producer.flush(60)
    assert left == 0, f"{left} messages were not acknowledged"
