"""Topics are made so that one broker's loss takes no acknowledged job, and others are reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from penstock_contracts.topics import CONTROL, EVENTS
from penstock_kit.kafka import admin
from penstock_kit.kafka.admin import TopicDifference, ensure_topics
from penstock_kit.settings import KafkaSettings

LEAST = "min.insync.replicas"


@dataclass
class Topic:
    copies: int
    partitions: int
    config: dict[str, str]


@dataclass
class FakeCluster:
    """The calls of an admin client that `ensure_topics` makes, on topics in memory."""

    brokers: int
    default_replication: int = 1
    topics: dict[str, Topic] = field(default_factory=dict)
    may_alter: bool = True
    not_known_yet: int = 0
    """So many times the broker that is asked has not heard of the topics."""

    def list_topics(self, *, timeout: float) -> Any:
        assert timeout > 0
        return SimpleNamespace(
            brokers=dict.fromkeys(range(self.brokers)),
            topics={
                name: SimpleNamespace(
                    error=None,
                    partitions={
                        number: SimpleNamespace(leader=0, replicas=list(range(topic.copies)))
                        for number in range(topic.partitions)
                    },
                )
                for name, topic in self.topics.items()
            },
        )

    def create_topics(self, new: Iterable[Any], **_: object) -> dict[str, Future[None]]:
        for each in new:
            copies = each.replication_factor
            self.topics[each.topic] = Topic(
                copies=self.default_replication if copies == -1 else copies,
                partitions=each.num_partitions,
                config=dict(each.config),
            )
        return {each.topic: _done(None) for each in new}

    def describe_configs(self, resources: Iterable[Any], **_: object) -> dict[Any, Future[Any]]:
        if self.not_known_yet > 0:
            self.not_known_yet -= 1
            return {each: _failed(KafkaError.UNKNOWN_TOPIC_OR_PART) for each in resources}
        return {each: _done(self._entries(each.name)) for each in resources}

    def incremental_alter_configs(
        self, resources: Iterable[Any], **_: object
    ) -> dict[Any, Future[Any]]:
        if not self.may_alter:
            return {each: _failed(KafkaError.TOPIC_AUTHORIZATION_FAILED) for each in resources}
        for each in resources:
            for entry in each.incremental_configs:
                self.topics[each.name].config[entry.name] = entry.value
        return {each: _done(None) for each in resources}

    def _entries(self, name: str) -> Mapping[str, Any]:
        config = {LEAST: "1", **self.topics[name].config}
        return {key: SimpleNamespace(value=value) for key, value in config.items()}


@pytest.fixture
def clustered(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(cluster: FakeCluster) -> FakeCluster:
        monkeypatch.setattr(admin, "make_admin", lambda *_, **__: cluster)
        return cluster

    return use


def _settings(replication: int | None = None) -> KafkaSettings:
    return KafkaSettings(bootstrap="a:1", replication=replication)


@pytest.mark.parametrize(("copies", "least"), [(1, None), (2, None), (3, "2"), (5, "2")])
async def test_topic_of_three_copies_is_created_with_two_that_must_have_a_record(
    clustered: Any, copies: int, least: str | None
) -> None:
    cluster = clustered(FakeCluster(brokers=5))

    report = await ensure_topics(_settings(copies), [EVENTS])

    assert report.differences == ()
    assert cluster.topics[EVENTS.name].copies == copies
    assert cluster.topics[EVENTS.name].config.get(LEAST) == least


async def test_topic_whose_copies_the_brokers_chose_gets_what_belongs_to_them(
    clustered: Any,
) -> None:
    cluster = clustered(FakeCluster(brokers=3, default_replication=3))

    report = await ensure_topics(_settings(), [EVENTS, CONTROL])

    assert report.differences == ()
    assert {topic.config[LEAST] for topic in cluster.topics.values()} == {"2"}


async def test_new_topic_that_must_not_be_altered_is_reported(clustered: Any) -> None:
    clustered(FakeCluster(brokers=3, default_replication=3, may_alter=False))

    report = await ensure_topics(_settings(), [EVENTS])

    assert report.created == (EVENTS.name,)
    assert report.differences == (TopicDifference(EVENTS.name, LEAST, "2", "1"),)


async def test_single_copy_among_several_brokers_is_reported(clustered: Any) -> None:
    clustered(FakeCluster(brokers=3, default_replication=1))

    report = await ensure_topics(_settings(), [EVENTS])

    assert report.differences == (TopicDifference(EVENTS.name, "replication", "at least 2", "1"),)


async def test_single_copy_on_the_only_broker_is_as_it_can_be(clustered: Any) -> None:
    clustered(FakeCluster(brokers=1))

    report = await ensure_topics(_settings(), [EVENTS])

    assert report.differences == ()


async def test_existing_topic_with_too_few_copies_is_reported_and_left(clustered: Any) -> None:
    existing = Topic(copies=1, partitions=EVENTS.partitions, config=dict(EVENTS.config))
    cluster = clustered(FakeCluster(brokers=3, topics={EVENTS.name: existing}))

    report = await ensure_topics(_settings(3), [EVENTS])

    assert report.differences == (TopicDifference(EVENTS.name, "replication", "3", "1"),)
    assert cluster.topics == {EVENTS.name: existing}


@pytest.mark.parametrize("replication", [None, 3])
async def test_existing_topic_whose_last_copy_takes_writes_is_reported_and_left(
    clustered: Any, replication: int | None
) -> None:
    existing = Topic(copies=3, partitions=EVENTS.partitions, config=dict(EVENTS.config))
    clustered(FakeCluster(brokers=3, topics={EVENTS.name: existing}))

    report = await ensure_topics(_settings(replication), [EVENTS])

    assert report.differences == (TopicDifference(EVENTS.name, LEAST, "2", "1"),)
    assert LEAST not in existing.config


async def test_topic_that_a_broker_does_not_know_yet_is_asked_for_again(clustered: Any) -> None:
    cluster = clustered(FakeCluster(brokers=3, not_known_yet=2))

    report = await ensure_topics(_settings(3), [EVENTS])

    assert (report.created, cluster.not_known_yet) == ((EVENTS.name,), 0)


def _done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def _failed(code: int) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(KafkaException(KafkaError(code)))
    return future
