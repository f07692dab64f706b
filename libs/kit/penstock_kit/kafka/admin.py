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
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from penstock_contracts.topics import Topic

from penstock_kit.errors import Fatal
from penstock_kit.kafka.factory import make_admin
from penstock_kit.kafka.topic_differences import (
    Cluster,
    PresentTopic,
    TopicDifference,
    at_risk,
    has_low_least,
    not_as_declared,
    safe_config,
)
from penstock_kit.settings import KafkaSettings

__all__ = ["TopicDifference", "TopicReport", "TopicsUnavailable", "ensure_topics"]

_CALL_TIMEOUT_S: Final = 30.0
_VISIBLE_TIMEOUT_S: Final = 30.0
_VISIBLE_STEP_S: Final = 0.05
_BROKERS_DECIDE: Final = -1
"""The replication factor that means the brokers' `default.replication.factor`."""


class TopicsUnavailable(Fatal):
    """Raised where topics can neither be read nor created.

    The message says whether broker or rights are missing.
    """


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
) -> TopicReport:
    """Create what is missing and wait until every topic has a leader.

    Existing topics are only compared. New ones get `settings.replication` copies, where that is
    None as many as the brokers give, and the settings that are safe with so many.

    `partitions` overrides the declared counts (small stacks, tests), except for topics declared
    with one; None takes them as declared.

    Raises:
        TopicsUnavailable: no broker in half a minute, no right to create, or no leaders in time.
    """
    client = make_admin(settings, client_id="penstock-admin")
    wanted = {topic.name: _count(topic, partitions) for topic in topics}
    present = (await _cluster(client, settings.bootstrap)).topics
    missing = [topic for topic in topics if topic.name not in present]
    created = await _create(client, missing, wanted, settings.replication or _BROKERS_DECIDE)
    cluster = await _wait_for_leaders(client, wanted, settings.bootstrap)
    configs = await _configs(client, wanted)
    await _make_safe(client, created, cluster, configs)
    existing = [topic for topic in topics if topic.name not in created]
    return TopicReport(
        created=tuple(created),
        existing=tuple(topic.name for topic in existing),
        differences=(
            *not_as_declared(existing, wanted, cluster, configs),
            *at_risk(topics, cluster, configs, replication=settings.replication),
        ),
    )


def _count(topic: Topic, override: int | None) -> int:
    return topic.partitions if override is None or topic.partitions == 1 else override


async def _cluster(client: AdminClient, bootstrap: str) -> Cluster:
    try:
        metadata = await asyncio.to_thread(client.list_topics, timeout=_CALL_TIMEOUT_S)
    except KafkaException as error:
        raise TopicsUnavailable(
            f"no Kafka broker answers at {bootstrap!r}: {_text(error)}; "
            "start it, or correct PENSTOCK_KAFKA__BOOTSTRAP and PENSTOCK_KAFKA__SECURITY"
        ) from error
    topics = {
        name: PresentTopic(
            partitions=sum(each.leader >= 0 for each in topic.partitions.values()),
            copies=min((len(each.replicas) for each in topic.partitions.values()), default=0),
        )
        for name, topic in metadata.topics.items()
        if topic.error is None
    }
    return Cluster(brokers=len(metadata.brokers), topics=topics)


async def _create(
    client: AdminClient, topics: Iterable[Topic], wanted: dict[str, int], replication: int
) -> list[str]:
    new = [
        NewTopic(
            topic.name,
            num_partitions=wanted[topic.name],
            replication_factor=replication,
            config=topic.config | safe_config(replication),
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
                f"the number of copies ({_shown(replication)}) against the number of brokers"
            ) from error
        created.append(name)
    return created


async def _wait_for_leaders(client: AdminClient, wanted: dict[str, int], bootstrap: str) -> Cluster:
    try:
        async with asyncio.timeout(_VISIBLE_TIMEOUT_S):
            while True:
                cluster = await _cluster(client, bootstrap)
                absent = [name for name in wanted if not _has_leader(cluster, name)]
                if not absent:
                    return cluster
                await asyncio.sleep(_VISIBLE_STEP_S)
    except TimeoutError:
        raise TopicsUnavailable(
            f"the topics {', '.join(absent)} have no leader after {_VISIBLE_TIMEOUT_S:.0f} s; "
            "look at the brokers' state and log"
        ) from None


def _has_leader(cluster: Cluster, name: str) -> bool:
    return name in cluster.topics and cluster.topics[name].partitions > 0


async def _configs(client: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """All settings of the topics, by topic."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    async with asyncio.timeout(_VISIBLE_TIMEOUT_S):
        while True:
            futures = client.describe_configs(resources, request_timeout=_CALL_TIMEOUT_S)
            try:
                return {each.name: _values(await _result(futures[each])) for each in resources}
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise TopicsUnavailable(
                        f"topic settings cannot be read: {_text(error)}; grant DESCRIBE_CONFIGS"
                    ) from error
            await asyncio.sleep(_VISIBLE_STEP_S)  # a new topic, and this broker is the last to know


def _values(entries: dict[str, Any]) -> dict[str, str]:
    return {name: entry.value for name, entry in entries.items()}


async def _make_safe(
    client: AdminClient,
    created: Sequence[str],
    cluster: Cluster,
    configs: dict[str, dict[str, str]],
) -> None:
    """Where the brokers chose the number of copies, only now it is known what belongs to it."""
    for name in created:
        copies = cluster.topics[name].copies
        if not has_low_least(configs[name], copies=copies):
            continue
        safe = safe_config(copies)
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in safe.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        (future,) = client.incremental_alter_configs(
            [resource], request_timeout=_CALL_TIMEOUT_S
        ).values()
        try:
            await _result(future)
        except KafkaException:
            continue  # without the right to, it stays a difference in the report
        configs[name] |= safe


async def _result(future: Future[Any]) -> Any:
    async with asyncio.timeout(_CALL_TIMEOUT_S + 5):
        return await asyncio.wrap_future(future)


def _shown(replication: int) -> str:
    decided = replication == _BROKERS_DECIDE
    return "the brokers' default.replication.factor" if decided else str(replication)


def _text(error: KafkaException) -> str:
    cause = error.args[0]
    return cause.str() if isinstance(cause, KafkaError) else str(cause)
