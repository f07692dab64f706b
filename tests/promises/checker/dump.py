"""Reads every topic from offset 0 to its end and keeps the records, bytes and all."""

from __future__ import annotations

import base64
import json
import time
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

__all__ = ["dump_topics"]

_PATIENCE_S = 60.0


def dump_topics(bootstrap: str, evidence: Path) -> None:
    """Write `topics/<topic>.jsonl`: partition, offset, time of the broker, key, headers, value.

    Bytes are base64, so that a single wrong bit shows.
    """
    folder = evidence / "topics"
    folder.mkdir(parents=True, exist_ok=True)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "rig-checker",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",  # an offset 0 that is gone must be noticed
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
    )
    try:
        topics = consumer.list_topics(timeout=30).topics
        ours = {name: set(topics[name].partitions) for name in topics if name.startswith("ai.")}
        _dump(consumer, folder, ours)
    finally:
        consumer.close()


def _dump(consumer: Consumer, folder: Path, topics: dict[str, set[int]]) -> None:
    """All partitions of all topics in one pass; each is done when the broker says that it ends."""
    left = {(topic, partition) for topic, numbers in topics.items() for partition in numbers}
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in left])
    until = time.monotonic() + _PATIENCE_S
    with ExitStack() as files:
        out = {name: files.enter_context((folder / f"{name}.jsonl").open("w")) for name in topics}
        while left:
            if time.monotonic() > until:
                raise RuntimeError(f"these partitions cannot be read to their end: {sorted(left)}")
            for message in consumer.consume(1000, 0.1):
                error = message.error()
                if error is None:
                    out[str(message.topic())].write(_line(message) + "\n")
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard((str(message.topic()), int(message.partition() or 0)))
                elif not error.retriable():
                    raise RuntimeError(f"{message.topic()} cannot be read: {error}")


def _line(message: Message) -> str:
    return json.dumps(
        {
            "p": message.partition(),
            "o": message.offset(),
            "ts": message.timestamp()[1] / 1000,
            "key": _text(message.key()),
            "headers": [[name, _text(raw)] for name, raw in list(message.headers() or [])],
            "value": _text(message.value()),
        }
    )


def _text(raw: bytes | str | None) -> str | None:
    if raw is None:
        return None
    return base64.b64encode(raw if isinstance(raw, bytes) else raw.encode()).decode()
