"""Where the topics of a cluster differ from the contract, and where a broker's loss may cost jobs.

A job is acknowledged when all copies in sync have it. That is worth as much as there are copies, so
topics of three or more also need `min.insync.replicas=2`: with one copy left, writes are refused,
and no acknowledged job stands in that one alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock_contracts.topics import Topic

__all__ = [
    "Cluster",
    "PresentTopic",
    "TopicDifference",
    "at_risk",
    "has_low_least",
    "not_as_declared",
    "safe_config",
]

_LEAST_IN_SYNC: Final = "min.insync.replicas"
_LEAST: Final = 2
_COPIES_FOR_LEAST: Final = 3
"""With two copies a least of two would refuse every write while one broker restarts."""

Configs = Mapping[str, Mapping[str, str]]
"""All settings of topics, by topic."""


@dataclass(frozen=True, slots=True)
class TopicDifference:
    """One property of a topic that is not as it should be. Nothing was changed."""

    topic: str
    name: str
    declared: str
    actual: str


@dataclass(frozen=True, slots=True)
class PresentTopic:
    """A topic as the cluster has it."""

    partitions: int
    """Those with a leader."""
    copies: int
    """Of the partition that has the fewest."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """How many brokers there are, and their topics."""

    brokers: int
    topics: Mapping[str, PresentTopic]


def safe_config(copies: int) -> dict[str, str]:
    """What a topic of so many copies needs beside its declared settings."""
    return {_LEAST_IN_SYNC: str(_LEAST)} if copies >= _COPIES_FOR_LEAST else {}


def has_low_least(config: Mapping[str, str], *, copies: int) -> bool:
    """Whether the topic takes writes that only one of its three or more copies has."""
    return copies >= _COPIES_FOR_LEAST and int(config.get(_LEAST_IN_SYNC, "1")) < _LEAST


def not_as_declared(
    topics: Sequence[Topic], partitions: Mapping[str, int], cluster: Cluster, configs: Configs
) -> Iterator[TopicDifference]:
    """Partitions and settings that are not the wanted ones."""
    for topic in topics:
        wanted, actual = partitions[topic.name], cluster.topics[topic.name].partitions
        if wanted != actual:
            yield TopicDifference(topic.name, "partitions", str(wanted), str(actual))
    for topic in topics:
        config = configs[topic.name]
        for name, value in topic.config.items():
            if _normal(config.get(name)) != _normal(value):
                yield TopicDifference(topic.name, name, value, config.get(name, "(unset)"))


def at_risk(
    topics: Sequence[Topic], cluster: Cluster, configs: Configs, *, replication: int | None
) -> Iterator[TopicDifference]:
    """Other numbers of copies than wanted, and topics whose last copy takes writes alone.

    Where `replication` is None nothing says what is wanted, but one copy is too few as soon as
    there are two brokers.
    """
    for topic in topics:
        copies = cluster.topics[topic.name].copies
        if replication is None and copies == 1 < cluster.brokers:
            yield TopicDifference(topic.name, "replication", "at least 2", "1")
        if replication not in (None, copies):
            yield TopicDifference(topic.name, "replication", str(replication), str(copies))
        if has_low_least(configs[topic.name], copies=copies):
            least = configs[topic.name].get(_LEAST_IN_SYNC, "(unset)")
            yield TopicDifference(topic.name, _LEAST_IN_SYNC, str(_LEAST), least)


def _normal(value: str | None) -> list[str]:
    return sorted((value or "").split(","))
