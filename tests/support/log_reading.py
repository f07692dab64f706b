"""What lies in the log, read by a client that knows nothing of Penstock's own readers."""

from __future__ import annotations

from collections import defaultdict

import confluent_kafka

__all__ = ["terminal_events"]

EVENTS = "ai.jobs.events.v1"
ENDS = {"completed", "failed", "cancelled", "expired", "unknown_outcome"}


def terminal_events(bootstrap: str) -> dict[str, list[str]]:
    """The terminal events of every job in the whole events topic, by job, in order."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False}
    )
    ends: dict[str, list[str]] = defaultdict(list)
    try:
        partitions = consumer.list_topics(EVENTS, timeout=10).topics[EVENTS].partitions
        for partition in partitions:
            place = confluent_kafka.TopicPartition(EVENTS, partition, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([place])
            while end > 0:
                message = consumer.poll(10)
                assert message is not None, "the log ended before its end offset"
                assert message.error() is None, message.error()
                headers = dict(message.headers() or [])
                kind = headers["ce_type"]
                assert isinstance(kind, bytes)
                name = kind.decode().split(".")[-2]
                if name in ENDS:
                    ends[(message.key() or b"").decode()].append(name)
                if (message.offset() or 0) >= end - 1:
                    break
    finally:
        consumer.close()
    return dict(ends)
