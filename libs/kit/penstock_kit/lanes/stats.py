"""What can be told about lanes at one moment."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LaneStats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStats:
    """A snapshot.

    Attributes:
        lag: records in the request topics from the first unfinished one on, as of the last look at
            the broker.
        oldest_age_s: age of the oldest unfinished record in the request topics by its timestamp; 0
            if there is none.
        in_flight: handlers at work.
        queued: records fetched and waiting, those in retry topics included.
        held: records of retry topics that are here and not due yet.
        span: finished records above an unfinished one, in all partitions.
        paused: partitions that are not fetched from.
        assigned: partitions of this process.
        silence_s: time since the poll thread last made progress.
    """

    lag: int
    oldest_age_s: float
    in_flight: int
    queued: int
    held: int
    span: int
    paused: int
    assigned: int
    silence_s: float
