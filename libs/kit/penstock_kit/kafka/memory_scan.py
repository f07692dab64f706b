"""Implements `LogScan` on Kafka in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.scan import ScanBatch

__all__ = ["MemoryScan"]

_BATCH: Final = 100


class MemoryScan:
    """Reads topics once; what is written meanwhile is read too, as far as it comes in time."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka

    async def batches(self, topics: Sequence[str]) -> AsyncGenerator[ScanBatch, None]:
        """See `LogScan.batches`; topics that do not exist are empty."""
        left = self._kafka.places(topics)
        next_offsets = dict.fromkeys(left, 0)
        while left:
            place = left[0]
            with self._kafka.changed:
                records = list(self._kafka.read(place, next_offsets[place], _BATCH))
            if not records:
                left = left[1:]
            next_offsets[place] += len(records)
            yield ScanBatch(records, len(left))
