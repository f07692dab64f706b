"""What can be told about lanes at one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from penstock_kit.clock import Clock
from penstock_kit.lanes.keys import Partition
from penstock_kit.lanes.window import Window

__all__ = ["LaneStats", "take_stats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStats:
    """A snapshot.

    Attributes:
        lag: records in the request topics from the first unfinished one on, as of the last look at
            the broker.
        work_left_s: by topic, how long this process needs for its part of that lag: lag by mean
            seconds of a handler by handlers at once. Topics without a finished record are missing.
        oldest_age_s: age of the oldest unfinished record in the request topics by its timestamp; 0
            if there is none.
        in_flight: handlers at work.
        limit: the most of them at once, now.
        queued: records fetched and waiting, those in retry topics included.
        held: records of retry topics that are here and not due yet.
        ruled: records that wait because of a runtime rule, with those behind them.
        resting: records that wait in place for their next try.
        retries: records put back or moved to a retry topic since the start.
        span: finished records above an unfinished one, in all partitions.
        paused: partitions that are not fetched from.
        assigned: partitions of this process.
        silence_s: time since the poll thread last made progress.
    """

    lag: int
    work_left_s: Mapping[str, float]
    oldest_age_s: float
    in_flight: int
    limit: int
    queued: int
    held: int
    ruled: int
    resting: int
    retries: int
    span: int
    paused: int
    assigned: int
    silence_s: float


def take_stats(
    window: Window,
    clock: Clock,
    *,
    held: int,
    resting: int,
    retries: int,
    paused: int,
    silence_s: float,
) -> LaneStats:
    """A snapshot of the window, and of what others count."""
    partitions = [partition for partition in window.partitions if not partition.is_retry]
    stamps = [
        slot.timestamp_ms
        for partition in partitions
        if (slot := partition.tracker.oldest) is not None and slot.timestamp_ms >= 0
    ]
    age_s = clock.now().timestamp() - min(stamps) / 1000 if stamps else 0.0
    return LaneStats(
        lag=sum(partition.lag for partition in partitions),
        work_left_s=_work_left(partitions, window.service_s, window.limit),
        oldest_age_s=max(0.0, age_s),
        in_flight=window.running,
        limit=window.limit,
        queued=window.queued,
        held=held,
        ruled=window.ruled,
        resting=resting,
        retries=retries,
        span=sum(partition.tracker.beyond_gap for partition in partitions),
        paused=paused,
        assigned=len(window.partitions),
        silence_s=max(0.0, silence_s),
    )


def _work_left(
    partitions: Collection[Partition], service_s: Mapping[str, float], limit: int
) -> dict[str, float]:
    """See `LaneStats.work_left_s`."""
    lags: Counter[str] = Counter()
    for partition in partitions:
        lags[partition.place.topic] += partition.lag
    return {
        topic: lag * service_s[topic] / limit for topic, lag in lags.items() if topic in service_s
    }
