"""Reads topics once from their beginning to their end, without a group: for rebuilds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import confluent_kafka
from confluent_kafka import KafkaError

from penstock_kit.errors import Retryable
from penstock_kit.kafka.factory import make_consumer
from penstock_kit.kafka.ports import Record, TopicPartition
from penstock_kit.kafka.unreadable import headers_of
from penstock_kit.settings import KafkaSettings

__all__ = ["KafkaScan", "LogScan", "ScanBatch"]

T = TypeVar("T")

_BATCH: Final = 2_000
_POLL_S: Final = 0.1
_METADATA_TIMEOUT_S: Final = 10.0
_SILENCE_S: Final = 30.0
"""Longest wait for a record or an end of partition before the broker counts as away."""
_AT_END: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 - public by documentation


@dataclass(frozen=True, slots=True)
class ScanBatch:
    """Some records, in order per partition.

    Attributes:
        left: partitions not at their end yet.
        ends: where those end that have been read to their end.
    """

    records: list[Record]
    left: int
    ends: dict[TopicPartition, int] = field(default_factory=dict)


class LogScan(Protocol):
    """Reads topics once."""

    def batches(self, topics: Sequence[str]) -> AsyncGenerator[ScanBatch, None]:
        """All records that were there when the scan began, and maybe some that came later.

        Raises:
            Retryable: the broker does not answer.
        """
        ...


class KafkaScan:
    """Implements `LogScan` on librdkafka; each scan has a client of its own."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    async def batches(self, topics: Sequence[str]) -> AsyncGenerator[ScanBatch, None]:
        """See `LogScan.batches`; topics that do not exist are empty."""
        client = make_consumer(
            self._settings,
            "penstock-scan",  # never joined: partitions are assigned by hand
            client_id="penstock-scan",
            overrides={"enable.partition.eof": True, "group.protocol": "classic"},
        )
        try:
            places = await _in_thread(_assign_all, client, topics)
            ends: dict[TopicPartition, int] = {}
            silent_s = 0.0
            while places:
                messages = await _in_thread(client.consume, _BATCH, _POLL_S)
                silent_s = 0.0 if messages else silent_s + _POLL_S
                if silent_s > _SILENCE_S:
                    raise Retryable("the broker sends no records; the scan begins anew later")
                records = [
                    record for m in messages if (record := _record(m, places, ends)) is not None
                ]
                yield ScanBatch(records, len(places), ends)
        finally:
            await _in_thread(client.close)


async def _in_thread(call: Callable[..., T], *arguments: Any) -> T:
    """Run a blocking call; a cancel waits for it, for the client takes one call at a time."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _assign_all(client: confluent_kafka.Consumer, topics: Sequence[str]) -> set[tuple[str, int]]:
    try:
        known = client.list_topics(timeout=_METADATA_TIMEOUT_S).topics
    except confluent_kafka.KafkaException as error:
        raise Retryable(f"no broker answers: {error.args[0].str()}") from error
    places = {
        (topic, number) for topic in topics if topic in known for number in known[topic].partitions
    }
    client.assign(
        [
            confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING)
            for topic, number in sorted(places)
        ]
    )
    return places


def _record(
    message: Any, places: set[tuple[str, int]], ends: dict[TopicPartition, int]
) -> Record | None:
    """The record, or None; an end of partition moves it from `places` to `ends`."""
    error = message.error()
    if error is not None:
        if error.code() == _AT_END:
            places.discard((message.topic(), message.partition()))
            ends[TopicPartition(message.topic(), message.partition())] = message.offset()
        return None
    kind, timestamp_ms = message.timestamp()
    return Record(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=message.value(),
        headers=headers_of(message),
        timestamp_ms=timestamp_ms if kind else -1,
    )
