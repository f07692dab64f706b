"""Metrics of the tail."""

from __future__ import annotations

from penstock_kit.telemetry.metrics import Metrics

__all__ = ["TailMetrics"]


class TailMetrics:
    """What the tail counts; no labels but the bounded reason of a malformed record."""

    def __init__(self, metrics: Metrics) -> None:
        self.events = metrics.counter("tail_events_total", "Job events read from the log.")
        self.stale = metrics.counter(
            "tail_stale_events_total", "Events that a job's stream was already past: dropped."
        )
        self.malformed = metrics.counter(
            "tail_malformed_records_total", "Records that are no job event: skipped.", "reason"
        )
        self.sink_failures = metrics.counter(
            "tail_sink_failures_total", "Subscribers that raised when an event came."
        )
        self.rebuilds = metrics.counter(
            "tail_rebuilds_total", "Times that the reading client was stuck and was rebuilt."
        )
        self.behind = metrics.gauge(
            "tail_behind_records", "Records in the log that are not read yet, as last seen."
        )
        self.ring_bytes = metrics.gauge("tail_ring_bytes", "Estimated memory of the kept events.")
