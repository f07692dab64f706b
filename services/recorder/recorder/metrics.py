"""The recorder's metrics."""

from __future__ import annotations

from penstock_kit.telemetry.metrics import Metrics

__all__ = ["RecorderMetrics"]


class RecorderMetrics:
    """Counts and times of folding."""

    def __init__(self, metrics: Metrics) -> None:
        self.records = metrics.counter(
            "recorder_records_total", "Records folded, or skipped as bad.", "outcome"
        )
        self.skipped = metrics.counter(
            "recorder_skipped_total", "Records that tell nothing, by the code of the fault.", "code"
        )
        self.fold_seconds = metrics.histogram(
            "recorder_fold_seconds", "Time from a batch's arrival until Redis has it."
        )
        self.age_seconds = metrics.histogram(
            "recorder_age_seconds", "Age of a batch's newest record once Redis has it."
        )
        self.published = metrics.counter(
            "recorder_states_published_total", "Records written to the state topic."
        )
        self.redis_away = metrics.counter(
            "recorder_redis_away_total", "Times a batch had to wait because Redis did not answer."
        )
        self.rebuilds = metrics.counter(
            "recorder_rebuilds_total", "Rebuilds of the whole table.", "outcome"
        )
        self.expired = metrics.counter(
            "recorder_expired_total", "Jobs forgotten because of their age."
        )
