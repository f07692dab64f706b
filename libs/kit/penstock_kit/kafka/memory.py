"""Kafka in memory, for tests and embedded use: the same ports, the same contract suite, no network.

Several producers on event loops and consumers on threads may share one `MemoryKafka`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from aiokafka.partitioner import murmur2
from penstock_contracts.topics import LARGEST_RECORD_BYTES, Topic

from penstock_kit.kafka.memory_consumer import MemoryConsumer
from penstock_kit.kafka.memory_group import MemoryGroup
from penstock_kit.kafka.memory_producer import MemoryProducer
from penstock_kit.kafka.ports import Ack, OutRecord, Record, RecordRefused, TopicPartition

__all__ = ["MemoryFaults", "MemoryKafka"]

_RECORD_OVERHEAD_BYTES: Final = 70
"""Framing of a batch with one record, roughly; only the size limit needs it."""


@dataclass(slots=True)
class MemoryFaults:
    """What goes wrong on request.

    Attributes:
        on_send: called with each record before it is written; a returned error is raised instead
            of writing.
        lose_acks: records are written, but their senders hear `DeliveryUnknown`.
        hold_acks: records are written, acknowledgements wait until `MemoryKafka.release_acks`.
        refuse_commits: commits are answered with an error.
        unheard_s: what consumers say of the time since a broker was heard.
    """

    on_send: Callable[[OutRecord], Exception | None] | None = None
    lose_acks: bool = False
    hold_acks: bool = False
    refuse_commits: bool = False
    unheard_s: float = 0.0


@dataclass(slots=True)
class _Log:
    max_bytes: int
    keeps_broker_time: bool
    partitions: list[list[Record]] = field(default_factory=list)


class MemoryKafka:
    """A broker. Topics are names or contract topics.

    Like the real one, it refuses topics that do not exist.
    """

    def __init__(self, topics: Iterable[str | Topic] = (), *, partitions: int = 4) -> None:
        self.faults = MemoryFaults()
        self.changed = threading.Condition()
        self._partitions = partitions
        self._logs: dict[str, _Log] = {}
        self._groups: dict[str, MemoryGroup] = {}
        self._held: list[Callable[[], None]] = []
        self._random = Random(0)  # noqa: S311 - spreads records without a key
        for topic in topics:
            self.create_topic(topic)

    def create_topic(self, topic: str | Topic, *, partitions: int | None = None) -> None:
        """Create a topic, or add partitions to it."""
        name = topic if isinstance(topic, str) else topic.name
        limit = LARGEST_RECORD_BYTES if isinstance(topic, str) else topic.max_message_bytes
        is_logged = not isinstance(topic, str) and topic.keeps_broker_time
        with self.changed:
            log = self._logs.setdefault(name, _Log(limit, is_logged))
            while len(log.partitions) < (partitions or self._partitions):
                log.partitions.append([])
            for group in self._groups.values():
                group.rebalance()
            self.changed.notify_all()

    def producer(self) -> MemoryProducer:
        """A new producer; start it like the real one."""
        return MemoryProducer(self)

    def consumer(self, group: str) -> MemoryConsumer:
        """A new member of a group."""
        with self.changed:
            return MemoryConsumer(self, self.group(group))

    def group(self, name: str) -> MemoryGroup:
        """The state of a group."""
        if name not in self._groups:
            self._groups[name] = MemoryGroup(self.places)
        return self._groups[name]

    def places(self, topics: Iterable[str]) -> list[TopicPartition]:
        """The partitions of those topics that exist."""
        return [
            TopicPartition(topic, number)
            for topic in topics
            if topic in self._logs
            for number in range(len(self._logs[topic].partitions))
        ]

    def records(self, topic: str) -> list[Record]:
        """Everything ever written to a topic, by partition and offset."""
        with self.changed:
            return [record for log in self._logs[topic].partitions for record in log]

    def read(self, place: TopicPartition, offset: int, limit: int) -> list[Record]:
        """Up to `limit` records from an offset on; hold `changed`."""
        return self._logs[place.topic].partitions[place.partition][offset : offset + limit]

    def end_offset(self, place: TopicPartition) -> int:
        """The offset of the next record; -1 if there is no such partition."""
        log = self._logs.get(place.topic)
        if log is None or place.partition >= len(log.partitions):
            return -1
        return len(log.partitions[place.partition])

    def append(self, record: OutRecord) -> Ack:
        """Write a record at the end of its partition.

        Raises:
            RecordRefused: unknown topic or partition, or too large.
        """
        with self.changed:
            log = self._logs.get(record.topic)
            if log is None:
                raise RecordRefused(
                    f"topic {record.topic!r} does not exist; create it", code="unknown_topic"
                )
            _check_size(record, log.max_bytes)
            number = self._choose(record, len(log.partitions))
            records = log.partitions[number]
            timestamp_ms = time.time_ns() // 1_000_000
            records.append(
                Record(
                    topic=record.topic,
                    partition=number,
                    offset=len(records),
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    timestamp_ms=timestamp_ms,
                    is_broker_time=log.keeps_broker_time,
                )
            )
            self.changed.notify_all()
            appended_ms = timestamp_ms if log.keeps_broker_time else -1
            return Ack(record.topic, number, len(records) - 1, appended_ms)

    def hold(self, settle: Callable[[], None]) -> None:
        """Keep an acknowledgement for `release_acks`."""
        self._held.append(settle)

    def release_acks(self) -> None:
        """Deliver what `faults.hold_acks` kept back; call it on the producers' loop."""
        self.faults.hold_acks = False
        held, self._held = self._held, []
        for settle in held:
            settle()

    def _choose(self, record: OutRecord, count: int) -> int:
        if record.partition is not None:
            if not 0 <= record.partition < count:
                raise RecordRefused(
                    f"topic {record.topic!r} has no partition {record.partition}",
                    code="unknown_partition",
                )
            return record.partition
        if record.key is None:
            return self._random.randrange(count)
        return int(murmur2(record.key) & 0x7FFFFFFF) % count


def _check_size(record: OutRecord, limit: int) -> None:
    parts: Sequence[bytes | None] = (record.key, record.value)
    size = sum(len(part) for part in parts if part is not None) + _RECORD_OVERHEAD_BYTES
    size += sum(len(name) + len(value or b"") + 2 for name, value in record.headers)
    if size > limit:
        raise RecordRefused(
            f"topic {record.topic!r} refuses the record: {size} bytes are more than {limit}",
            code="record_too_large",
        )
