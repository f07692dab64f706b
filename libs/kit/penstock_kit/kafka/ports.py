"""What the rest of Penstock knows of Kafka.

Two implementations pass one contract suite: the real clients (`producer.py`, `consumer.py`) and
`memory.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from penstock_kit.errors import Busy, Fatal, Rejected, Retryable

__all__ = [
    "Ack",
    "Assignment",
    "Consumer",
    "DeliveryUnknown",
    "Headers",
    "OutRecord",
    "Producer",
    "ProducerFull",
    "Record",
    "RecordRefused",
    "TopicPartition",
    "BrokerFault",
]

Headers = Sequence[tuple[str, bytes]]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read.

    `timestamp_ms` is the broker's, when it appended (`is_broker_time`), or the producer's, by the
    topic's setting; -1 if none.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = -1
    is_broker_time: bool = False

    @property
    def place(self) -> TopicPartition:
        """The partition that the record was read from."""
        return TopicPartition(self.topic, self.partition)

    @property
    def size_bytes(self) -> int:
        """Key and value; headers are small."""
        return len(self.key or b"") + len(self.value or b"")


@dataclass(frozen=True, slots=True)
class OutRecord:
    """A record to write; the key chooses the partition (murmur2), `partition` overrides it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Where an acknowledged record lies: all in-sync replicas have it.

    `timestamp_ms` is when the broker appended it; -1 where the topic keeps the producer's time.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int = -1


class DeliveryUnknown(Retryable):
    """No acknowledgement in time.

    The record may or may not be in the log. Sending it again is safe for jobs.
    """


class ProducerFull(Busy):
    """The producer's bounded queue is full: the broker is slow or away. Nothing was enqueued."""


class RecordRefused(Rejected):
    """The broker or client will never take this record: too large, or the topic does not exist."""


class BrokerFault(Fatal):
    """The client is beyond repair (fenced, authentication refused, fatal state).

    The process must restart.
    """


class Producer(Protocol):
    """Idempotent, `acks=all`, keys to partitions by murmur2, bounded queue.

    Order: records of one key that are handed over one after another are in the log in that order.
    """

    async def start(self) -> None:
        """Return when the client exists; the broker need not be reachable yet."""
        ...

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Flush, at most `timeout_s`, then close; works twice and unstarted."""
        ...

    async def send(self, record: OutRecord) -> Ack:
        """Write and wait for the acknowledgement.

        Raises:
            ProducerFull: the queue is full; nothing was written.
            DeliveryUnknown: no acknowledgement within the delivery time-out.
            RecordRefused: this record can never be written.
            BrokerFault: the client is dead.
        """
        ...

    def send_soon(
        self,
        record: OutRecord,
        on_ack: Callable[[Ack | None, Exception | None], None] | None = None,
    ) -> None:
        """Enqueue now and return.

        `on_ack` runs later on the event loop with the ack or one of `send`'s errors.

        Raises:
            ProducerFull: the queue is full; nothing was written.
        """
        ...


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a rebalance changed.

    `epoch` grows with every change; `positions` holds the committed offset of each newly assigned
    partition (-1: none yet), `lost` marks partitions that somebody else may own already. `notes`
    holds what was committed beside the offsets, where there is anything.
    """

    epoch: int
    added: dict[TopicPartition, int] = field(default_factory=dict)
    revoked: frozenset[TopicPartition] = frozenset()
    lost: bool = False
    notes: dict[TopicPartition, str] = field(default_factory=dict)


class Consumer(Protocol):
    """A member of a consumer group, driven by ONE thread (the lanes' poll thread).

    All calls may block shortly.

    Auto-commit off, offset reset `earliest`, cooperative rebalances. Rebalance callbacks run
    inside `poll`.
    """

    def subscribe(self, topics: Sequence[str], on_change: Callable[[Assignment], None]) -> None:
        """Join the group.

        `on_change` is called inside `poll`: for revocations BEFORE the partitions are given up.
        """
        ...

    def poll(self, timeout_s: float, max_records: int) -> list[Record]:
        """The records at hand, waiting at most `timeout_s` for the first.

        Keeps the membership alive.

        Raises:
            BrokerFault: fatal client state, or `max.poll.interval` was exceeded.
        """
        ...

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop fetching these; survives rebalances for partitions that stay."""
        ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch these again from the position after the last record handed out."""
        ...

    def commit(
        self,
        offsets: dict[TopicPartition, int],
        *,
        wait: bool,
        notes: Mapping[TopicPartition, str] = {},
    ) -> None:
        """Commit next-to-read offsets; with `wait` returns after the broker answered.

        `notes`, each below 4 KiB, are kept beside the offsets and given to the next owner.

        Raises:
            Retryable: the broker did not take all of them (rebalance in progress, not a member any
                more, not reachable); try again or let go.
        """
        ...

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets that the broker is known to hold for these partitions.

        -1 where none. Never blocks.

        A commit without `wait` shows here after a later `poll`.
        """
        ...

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """High watermarks as last seen; -1 where unknown. Never blocks."""
        ...

    def unheard_s(self) -> float:
        """Seconds since any broker last said anything, as far as we know. Any thread, no blocking.

        A poll that returns nothing proves nothing: it does so without a connection as well.
        """
        ...

    def close(self) -> None:
        """Leave the group; works twice."""
        ...
