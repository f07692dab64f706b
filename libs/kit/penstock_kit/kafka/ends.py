"""Where a topic ends at this moment."""

from __future__ import annotations

import asyncio

from confluent_kafka import KafkaException

from penstock_kit.errors import Retryable
from penstock_kit.kafka.offsets import OffsetReader
from penstock_kit.settings import KafkaSettings

__all__ = ["KafkaEnds"]


class KafkaEnds:
    """Asks the brokers; the client is made at the first question."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._reader: OffsetReader | None = None
        self._is_asking = asyncio.Lock()

    async def ends(self) -> dict[int, int]:
        """The offset after the newest record of each partition that holds any.

        Raises:
            Retryable: the broker does not answer.
        """
        async with self._is_asking:
            try:
                return await asyncio.to_thread(self._ask)
            except KafkaException as error:
                raise Retryable(
                    f"the brokers do not tell where {self._topic} ends ({error})"
                ) from error

    def _ask(self) -> dict[int, int]:
        if self._reader is None:
            self._reader = OffsetReader(
                self._settings, group="penstock-ends", client_id="penstock-ends"
            )
        places = self._reader.partitions([self._topic])
        earliest = self._reader.earliest(places)
        latest = self._reader.latest(places)
        return {place[1]: end for place, end in latest.items() if end > earliest[place]}
