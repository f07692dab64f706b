"""Which topic a waiting record goes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from penstock_contracts.topics import RETRY_DELAYS_S, retry_topic

from penstock_kit.settings import BadSettings

__all__ = ["RetryTier", "RetryTopics"]


@dataclass(frozen=True, slots=True)
class RetryTier:
    """A topic whose records wait at most `longest`. It must keep the broker's time."""

    topic: str
    longest: timedelta


class RetryTopics:
    """The tiers of a deployment. Similar delays share a topic, so that its head is due soon."""

    def __init__(self, tiers: Sequence[RetryTier]) -> None:
        if not tiers:
            raise BadSettings("retry topics need a tier; leave them out to retry in place")
        self._tiers = sorted(tiers, key=lambda tier: tier.longest)
        self._longest = {tier.topic: tier.longest for tier in tiers}

    @classmethod
    def standard(cls) -> RetryTopics:
        """The topics that every deployment of Penstock has."""
        return cls([RetryTier(retry_topic(s).name, timedelta(seconds=s)) for s in RETRY_DELAYS_S])

    @property
    def names(self) -> tuple[str, ...]:
        """Topics, the shortest delay first."""
        return tuple(tier.topic for tier in self._tiers)

    def topic_for(self, delay: timedelta) -> str:
        """The smallest tier that is long enough; for what none is, the longest: it hops there."""
        for tier in self._tiers:
            if delay <= tier.longest:
                return tier.topic
        return self._tiers[-1].topic

    def longest_wait(self, topic: str) -> timedelta | None:
        """How long a record may wait there; None if it is no retry topic."""
        return self._longest.get(topic)
