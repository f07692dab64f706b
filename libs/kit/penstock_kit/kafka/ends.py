"""Where a topic ends at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported in fact, not by the stub
    AdminClient,
    OffsetSpec,
)

from penstock_kit.errors import Retryable
from penstock_kit.kafka.factory import make_admin
from penstock_kit.settings import KafkaSettings

__all__ = ["KafkaEnds"]

_TIMEOUT_S: Final = 5.0
"""The broker's answer takes milliseconds; who asks tries again."""


# The client's own functions have no types.
_LATEST: Final[Callable[[], OffsetSpec]] = OffsetSpec.latest
_EARLIEST: Final[Callable[[], OffsetSpec]] = OffsetSpec.earliest


class KafkaEnds:
    """Asks the brokers; the client is made at the first question."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._client: AdminClient | None = None

    async def ends(self) -> dict[int, int]:
        """The offset after the newest record of each partition that holds any.

        Raises:
            Retryable: the broker does not answer.
        """
        try:
            if self._client is None:
                self._client = make_admin(self._settings, client_id="penstock-ends")
            partitions = await asyncio.to_thread(self._partitions, self._client)
            latest = await self._ask(self._client, partitions, _LATEST())
            earliest = await self._ask(self._client, partitions, _EARLIEST())
        except (KafkaException, TimeoutError) as error:
            raise Retryable(
                f"the brokers do not tell where {self._topic} ends ({type(error).__name__})"
            ) from error
        return {at: end for at, end in latest.items() if end > earliest[at]}

    def _partitions(self, client: AdminClient) -> list[int]:
        known = client.list_topics(self._topic, timeout=_TIMEOUT_S).topics[self._topic]
        if known.error is not None:
            raise KafkaException(known.error)
        return sorted(known.partitions)

    async def _ask(
        self, client: AdminClient, partitions: list[int], spec: OffsetSpec
    ) -> dict[int, int]:
        asked = {TopicPartition(self._topic, number): spec for number in partitions}
        futures: dict[Any, Future[Any]] = client.list_offsets(asked, request_timeout=_TIMEOUT_S)
        async with asyncio.timeout(_TIMEOUT_S + 1):
            return {
                place.partition: (await asyncio.wrap_future(future)).offset
                for place, future in futures.items()
            }
