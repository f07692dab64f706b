"""Records with a header whose name is not UTF-8: no reader may stop at them.

Brokers look at no name; confluent-kafka 2.16 and aiokafka 0.14 decode all names of a record, and
raise. What a reader gets instead of the headers are `UNREADABLE_HEADERS`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import Message
from penstock_contracts.envelope import UNREADABLE_HEADERS

from penstock_kit.kafka.ports import Headers

__all__ = ["headers_of", "read_past_unreadable"]

log = structlog.get_logger(__name__)

_read: Final = operator.methodcaller("headers")
"""`message.headers()` by a way that notices its error at once: the method raises and returns a list
all the same, and where CPython calls methods quickly it looks at what is returned only, so that the
error surfaces anywhere behind."""


def headers_of(message: Message) -> Headers:
    """The headers of a message without an error; to be asked once.

    At a second time librdkafka's binding gives a list with holes, which end the process that looks
    at them.
    """
    try:
        return _read(message) or ()
    except (SystemError, UnicodeDecodeError):
        log.warning(
            "kafka.unreadable_headers",
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
        )
        return UNREADABLE_HEADERS


def read_past_unreadable() -> None:
    """Let the aiokafka consumers of this process read on behind such records.

    Where aiokafka meets one it can read nothing more of its batch, and fetches it again for ever.
    Now the rest of the batch, which is of the same producer, is one record without key and value.
    To be removed when aiokafka can be told how to decode names.
    """
    from aiokafka.consumer import fetcher  # noqa: PLC0415 - workers need no second client in memory
    from aiokafka.record.memory_records import MemoryRecords  # noqa: PLC0415 - the same

    fetcher.MemoryRecords = partial(_Batches, MemoryRecords)


class _Batches:
    """Stands in for aiokafka's `MemoryRecords`."""

    def __init__(self, reader: Callable[[bytes], Any], fetched: bytes) -> None:
        self._batches = reader(fetched)

    def has_next(self) -> bool:
        return bool(self._batches.has_next())

    def size_in_bytes(self) -> int:
        return int(self._batches.size_in_bytes())

    def next_batch(self) -> _Batch:
        return _Batch(self._batches.next_batch())


class _Batch:
    """Stands in for aiokafka's `DefaultRecordBatch`."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except UnicodeDecodeError:
            last = self._batch.next_offset - 1
            log.warning("kafka.unreadable_batch", first=self._batch.base_offset, last=last)
            yield _RestOfBatch(last, self._batch.max_timestamp, self._batch.timestamp_type)


@dataclass(frozen=True, slots=True)
class _RestOfBatch:
    """Stands for what cannot be read; at the last offset, so that reading goes on behind it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: None = None
    value: None = None
    checksum: None = None
    headers: list[tuple[str, bytes]] = field(default_factory=lambda: list(UNREADABLE_HEADERS))
