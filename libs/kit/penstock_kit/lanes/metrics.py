"""Metrics of lanes; the label `lanes` is the name given to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock_kit.lanes.stats import LaneStats
from penstock_kit.telemetry.metrics import Metrics

__all__ = ["LaneMetrics"]


class LaneMetrics:
    """Counts what happens to records, and reads the rest from `stats` when it is scraped."""

    def __init__(
        self,
        metrics: Metrics,
        name: str,
        stats: Callable[[], LaneStats],
        *,
        topics: Sequence[str] = (),
    ) -> None:
        finished = metrics.counter(
            "lanes_finished_total", "Records finished, by outcome.", "lanes", "outcome"
        )
        self.done = finished.labels(name, "done")
        self.dead = finished.labels(name, "dead")
        self.moved = finished.labels(name, "moved")
        again = metrics.counter(
            "lanes_tried_again_total", "Records put back, by reason.", "lanes", "reason"
        )
        self.retried = again.labels(name, "retryable")
        self.busy = again.labels(name, "busy")
        self.unexpected = again.labels(name, "unexpected")
        gauges: tuple[tuple[str, str, Callable[[LaneStats], float]], ...] = (
            ("in_flight_records", "Handlers at work.", lambda s: s.in_flight),
            ("limit_records", "The most handlers at work, now.", lambda s: s.limit),
            ("ruled_records", "Records that wait because of a runtime rule.", lambda s: s.ruled),
            ("resting_records", "Records that wait in place for a try.", lambda s: s.resting),
            ("queued_records", "Records fetched and waiting.", lambda s: s.queued),
            ("held_records", "Records of retry topics that are not due yet.", lambda s: s.held),
            ("beyond_gap_records", "Finished records above an unfinished one.", lambda s: s.span),
            ("paused_partitions", "Partitions not fetched from.", lambda s: s.paused),
            ("assigned_partitions", "Partitions of this process.", lambda s: s.assigned),
            ("lag_records", "Records in the log after the last finished one.", lambda s: s.lag),
            (
                "oldest_age_seconds",
                "Age of the oldest unfinished record.",
                lambda s: s.oldest_age_s,
            ),
            ("poll_silence_seconds", "Since the poll thread last moved.", lambda s: s.silence_s),
        )
        for suffix, about, read in gauges:
            gauge = metrics.gauge(f"lanes_{suffix}", about, "lanes")
            gauge.labels(name).set_function(_reader(stats, read))
        work = metrics.gauge(
            "lanes_work_left_seconds", "Time that this process needs for its lag.", "lanes", "topic"
        )
        for topic in topics:
            work.labels(name, topic).set_function(_reader(stats, _work_of(topic)))


def _reader(
    stats: Callable[[], LaneStats], read: Callable[[LaneStats], float]
) -> Callable[[], float]:
    return lambda: read(stats())


def _work_of(topic: str) -> Callable[[LaneStats], float]:
    return lambda stats: stats.work_left_s.get(topic, 0.0)
