"""Where partitions begin and end, and what a group has committed: questions that wait for answers.

Asked through a consumer that never joins its group. librdkafka's admin requests for the same would
do, but they abort the process when one times out while its broker comes back (an assertion in
`rd_kafka_enq_once`, seen with 2.16.1 after an absence of half a minute).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from penstock_kit.kafka.factory import make_consumer
from penstock_kit.settings import KafkaSettings

__all__ = ["Commit", "OffsetReader", "Place"]

_TIMEOUT_S: Final = 5.0
"""The broker's answer takes milliseconds; who asks tries again."""
_LATEST: Final = -1
_EARLIEST: Final = -2
"""As timestamps in ListOffsets. Source: Kafka protocol, `ListOffsets`."""

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed offset, and the text that its group keeps beside it."""

    offset: int
    note: str


class OffsetReader:
    """Blocks; use it from one thread at a time.

    Every method raises `KafkaException` where the brokers do not answer within five seconds.
    """

    def __init__(self, settings: KafkaSettings, *, group: str, client_id: str) -> None:
        self._client: Consumer = make_consumer(settings, group, client_id=client_id, overrides={})

    def partitions(self, topics: Iterable[str]) -> list[Place]:
        """All partitions of those topics that exist."""
        wanted = set(topics)
        metadata = self._client.list_topics(timeout=_TIMEOUT_S)
        return [
            (name, partition)
            for name, topic in metadata.topics.items()
            if name in wanted and topic.error is None
            for partition in sorted(topic.partitions)
        ]

    def latest(self, places: Sequence[Place]) -> dict[Place, int]:
        """The offset after the newest record of each."""
        return self._at(places, _LATEST)

    def earliest(self, places: Sequence[Place]) -> dict[Place, int]:
        """The offset of the oldest record of each; where it is empty, that of the next."""
        return self._at(places, _EARLIEST)

    def committed(self, places: Sequence[Place]) -> dict[Place, Commit]:
        """What the group has committed; partitions without a commit are left out."""
        if not places:
            return {}
        asked = [TopicPartition(*place) for place in places]
        return {
            (one.topic, one.partition): Commit(one.offset, one.metadata or "")
            for one in self._client.committed(asked, timeout=_TIMEOUT_S)
            if one.offset >= 0
        }

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def _at(self, places: Sequence[Place], moment: int) -> dict[Place, int]:
        if not places:
            return {}
        asked = [TopicPartition(*place, moment) for place in places]
        found = self._client.offsets_for_times(asked, timeout=_TIMEOUT_S)
        for one in found:
            if one.error is not None:
                raise KafkaException(one.error)
        return {(one.topic, one.partition): one.offset for one in found}
