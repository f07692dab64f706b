"""Reads every topic from offset 0 to its end and keeps the records, bytes and all."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

from confluent_kafka import Consumer, Message, TopicPartition

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
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    try:
        for name, topic in consumer.list_topics(timeout=30).topics.items():
            if name.startswith("ai."):
                _dump(consumer, folder / f"{name}.jsonl", name, list(topic.partitions))
    finally:
        consumer.close()


def _dump(consumer: Consumer, path: Path, topic: str, partitions: list[int]) -> None:
    ends = _ends(consumer, topic, partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    until = time.monotonic() + _PATIENCE_S
    with path.open("w") as file:
        while ends:
            if time.monotonic() > until:
                raise RuntimeError(f"{topic} cannot be read to its end: {ends}")
            messages = [m for m in consumer.consume(1000, 0.2) if not m.error()]
            file.writelines(_line(message) + "\n" for message in messages)
            # By position, not by record: compaction may leave the last offset without one.
            for place in consumer.position([TopicPartition(topic, p) for p in ends]):
                if place.offset >= ends[place.partition]:
                    ends.pop(place.partition)


def _ends(consumer: Consumer, topic: str, partitions: list[int]) -> dict[int, int]:
    """The end of each partition that has records."""
    ends: dict[int, int] = {}
    for partition in partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        if low:
            raise RuntimeError(f"{topic} has lost its beginning: it starts at {low}")
        if high:
            ends[partition] = high
    return ends


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
