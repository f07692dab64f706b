"""The declared topics beside those of the cluster, and how far the groups have read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import OffsetSpec as _Spec  # type: ignore[attr-defined]  # documented, but not in __all__
from penstock_contracts.topics import Topic
from penstock_kit.errors import PenstockError
from penstock_kit.kafka.admin import TopicsUnavailable
from penstock_kit.kafka.factory import make_admin
from penstock_kit.settings import KafkaSettings

__all__ = ["GroupLag", "NoTopic", "TopicRow", "group_lag", "topic_rows"]

_TIMEOUT_S = 10.0
_EARLIEST: Any = _Spec.earliest()  # type: ignore[no-untyped-call]  # the library has no types here
_LATEST: Any = _Spec.latest()  # type: ignore[no-untyped-call]  # the same


class NoTopic(PenstockError):
    """The contract declares no such topic; the message names the command that lists all."""


@dataclass(frozen=True, slots=True)
class TopicRow:
    """A declared topic and the partitions that the cluster has of it; None: it is missing there."""

    topic: Topic
    partitions: int | None


@dataclass(frozen=True, slots=True)
class GroupLag:
    """Records of a topic that a group has not finished yet."""

    group: str
    topic: str
    lag: int


async def topic_rows(settings: KafkaSettings, topics: Iterable[Topic]) -> list[TopicRow]:
    """Every declared topic, with what the cluster has of it.

    Raises:
        TopicsUnavailable: no broker answers.
    """
    present = await asyncio.to_thread(_partitions, _admin(settings), settings.bootstrap)
    return [TopicRow(topic, present.get(topic.name)) for topic in topics]


async def group_lag(
    settings: KafkaSettings, groups: Sequence[tuple[str, Sequence[str]]]
) -> list[GroupLag]:
    """What each group has before it, by topic; `groups` are names with their topics.

    Raises:
        TopicsUnavailable: no broker answers.
    """
    return await asyncio.to_thread(_group_lag, settings, groups)


def _group_lag(
    settings: KafkaSettings, groups: Sequence[tuple[str, Sequence[str]]]
) -> list[GroupLag]:
    client = _admin(settings)
    present = _partitions(client, settings.bootstrap)
    places = [
        TopicPartition(topic, partition)
        for topic in sorted({topic for _, topics in groups for topic in topics})
        for partition in range(present.get(topic, 0))
    ]
    try:
        ends = _offsets(client, places, _LATEST)
        starts = _offsets(client, places, _EARLIEST)
        committed = {group: _committed(client, group) for group, _ in groups}
    except KafkaException as error:
        raise _away(settings.bootstrap, error) from error
    return [
        GroupLag(
            group,
            topic,
            sum(
                end - max(committed[group].get(place, -1), starts[place])
                for place, end in ends.items()
                if place[0] == topic
            ),
        )
        for group, topics in groups
        for topic in topics
    ]


def _offsets(
    client: AdminClient, places: Sequence[TopicPartition], spec: Any
) -> dict[tuple[str, int], int]:
    futures = client.list_offsets(dict.fromkeys(places, spec))
    return {
        (place.topic, place.partition): future.result(_TIMEOUT_S).offset
        for place, future in futures.items()
    }


def _committed(client: AdminClient, group: str) -> dict[tuple[str, int], int]:
    request = [ConsumerGroupTopicPartitions(group)]
    (future,) = client.list_consumer_group_offsets(request).values()
    answer = future.result(_TIMEOUT_S).topic_partitions or []
    return {(place.topic, place.partition): place.offset for place in answer}


def _admin(settings: KafkaSettings) -> AdminClient:
    return make_admin(settings, client_id="penstock-cli")


def _partitions(client: AdminClient, bootstrap: str) -> dict[str, int]:
    try:
        metadata = client.list_topics(timeout=_TIMEOUT_S)
    except KafkaException as error:
        raise _away(bootstrap, error) from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _away(bootstrap: str, error: KafkaException) -> TopicsUnavailable:
    return TopicsUnavailable(
        f"no Kafka broker answers at {bootstrap!r} ({error}); start the stack with "
        "`penstock dev up`, or name your broker with --kafka"
    )
