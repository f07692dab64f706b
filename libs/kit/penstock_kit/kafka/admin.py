"""Creates the topics of a deployment and reports where the cluster differs from the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported in fact, not by the stub
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from penstock_contracts.topics import Topic

from penstock_kit.errors import Fatal
from penstock_kit.kafka.factory import make_admin
from penstock_kit.settings import KafkaSettings

__all__ = ["TopicDifference", "TopicReport", "TopicsUnavailable", "ensure_topics"]

_CALL_TIMEOUT_S: Final = 30.0
_VISIBLE_TIMEOUT_S: Final = 30.0
_VISIBLE_STEP_S: Final = 0.05


class TopicsUnavailable(Fatal):
    """Raised where topics can neither be read nor created.

    The message says whether broker or rights are missing.
    """


@dataclass(frozen=True, slots=True)
class TopicDifference:
    """One property of an existing topic that is not as declared. Nothing was changed."""

    topic: str
    name: str
    declared: str
    actual: str


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What `ensure_topics` did and found."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    differences: tuple[TopicDifference, ...]


async def ensure_topics(
    settings: KafkaSettings,
    topics: Sequence[Topic],
    *,
    partitions: int | None = None,
    replication: int = 1,
) -> TopicReport:
    """Create what is missing and wait until every partition has a leader.

    Existing topics are only compared.

    `partitions` overrides the declared counts (small stacks, tests), except for topics declared
    with one; None takes them as declared.

    Raises:
        TopicsUnavailable: no broker in half a minute, no right to create, or no leaders in time.
    """
    client = make_admin(settings, client_id="penstock-admin")
    wanted = {topic.name: _count(topic, partitions) for topic in topics}
    present = await _partition_counts(client, settings.bootstrap)
    missing = [topic for topic in topics if topic.name not in present]
    created = await _create(client, missing, wanted, replication)
    await _wait_for_leaders(client, wanted, settings.bootstrap)
    existing = [topic for topic in topics if topic.name not in created]
    return TopicReport(
        created=tuple(created),
        existing=tuple(topic.name for topic in existing),
        differences=await _differences(client, existing, wanted, present),
    )


def _count(topic: Topic, override: int | None) -> int:
    return topic.partitions if override is None or topic.partitions == 1 else override


async def _partition_counts(client: AdminClient, bootstrap: str) -> dict[str, int]:
    """Partitions with a leader, by topic."""
    try:
        metadata = await asyncio.to_thread(client.list_topics, timeout=_CALL_TIMEOUT_S)
    except KafkaException as error:
        raise TopicsUnavailable(
            f"no Kafka broker answers at {bootstrap!r}: {_text(error)}; "
            "start it, or correct PENSTOCK_KAFKA__BOOTSTRAP and PENSTOCK_KAFKA__SECURITY"
        ) from error
    return {
        name: sum(partition.leader >= 0 for partition in topic.partitions.values())
        for name, topic in metadata.topics.items()
        if topic.error is None
    }


async def _create(
    client: AdminClient, topics: Iterable[Topic], wanted: dict[str, int], replication: int
) -> list[str]:
    new = [
        NewTopic(
            topic.name,
            num_partitions=wanted[topic.name],
            replication_factor=replication,
            config=topic.config,
        )
        for topic in topics
    ]
    if not new:
        return []
    created = []
    for name, future in client.create_topics(new, request_timeout=_CALL_TIMEOUT_S).items():
        try:
            await _result(future)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # a sister was quicker
            raise TopicsUnavailable(
                f"topic {name!r} cannot be created: {_text(error)}; grant CREATE on it, or check "
                f"the replication factor ({replication}) against the number of brokers"
            ) from error
        created.append(name)
    return created


async def _wait_for_leaders(client: AdminClient, wanted: dict[str, int], bootstrap: str) -> None:
    try:
        async with asyncio.timeout(_VISIBLE_TIMEOUT_S):
            while True:
                present = await _partition_counts(client, bootstrap)
                absent = [name for name in wanted if not present.get(name)]
                if not absent:
                    return
                await asyncio.sleep(_VISIBLE_STEP_S)
    except TimeoutError:
        raise TopicsUnavailable(
            f"the topics {', '.join(absent)} have no leader after {_VISIBLE_TIMEOUT_S:.0f} s; "
            "look at the brokers' state and log"
        ) from None


async def _differences(
    client: AdminClient, topics: Sequence[Topic], wanted: dict[str, int], present: dict[str, int]
) -> tuple[TopicDifference, ...]:
    if not topics:
        return ()
    found = [
        TopicDifference(topic.name, "partitions", str(wanted[topic.name]), str(present[topic.name]))
        for topic in topics
        if topic.name in present and present[topic.name] != wanted[topic.name]
    ]
    resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics]
    futures = client.describe_configs(resources, request_timeout=_CALL_TIMEOUT_S)
    actual = {resource.name: await _config(future) for resource, future in futures.items()}
    for topic in topics:
        found += [
            TopicDifference(topic.name, name, value, actual[topic.name].get(name, "(unset)"))
            for name, value in topic.config.items()
            if _normal(actual[topic.name].get(name)) != _normal(value)
        ]
    return tuple(found)


async def _config(future: Future[Any]) -> dict[str, str]:
    try:
        entries = await _result(future)
    except KafkaException as error:
        raise TopicsUnavailable(
            f"topic settings cannot be read: {_text(error)}; grant DESCRIBE_CONFIGS"
        ) from error
    return {name: entry.value for name, entry in entries.items()}


async def _result(future: Future[Any]) -> Any:
    async with asyncio.timeout(_CALL_TIMEOUT_S + 5):
        return await asyncio.wrap_future(future)


def _normal(value: str | None) -> list[str]:
    return sorted((value or "").split(","))


def _text(error: KafkaException) -> str:
    cause = error.args[0]
    return cause.str() if isinstance(cause, KafkaError) else str(cause)
