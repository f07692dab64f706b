"""Every metric of admission: name, meaning, unit and (bounded) labels."""

from __future__ import annotations

from penstock_kit.telemetry.metrics import Metrics

__all__ = ["AdmissionMetrics"]


class AdmissionMetrics:
    """Declared once per process."""

    def __init__(self, metrics: Metrics) -> None:
        self.verdicts = metrics.counter(
            "gateway_admissions_total",
            "Checked submits by what became of them: admitted, demoted, replayed, or the code of"
            " the refusal.",
            "verdict",
        )
        self.local = metrics.counter(
            "gateway_admissions_local_total",
            "Submits decided by this process alone, because Redis was away.",
        )
        self.degraded = metrics.gauge(
            "gateway_admission_degraded", "1 while Redis is away and limits hold per process."
        )
        self.backlog = metrics.gauge(
            "gateway_backlog_jobs",
            "Accepted and unfinished jobs by the worker groups' lag; `all` is every group together"
            " with the retry topics.",
            "group",
        )
        self.wait = metrics.gauge(
            "gateway_estimated_wait_seconds",
            "Estimated wait of a new job; absent while it is not known.",
            "group",
            "priority",
        )
        self.lag_failures = metrics.counter(
            "gateway_lag_failures_total", "Times that the broker did not tell the groups' lag."
        )
        self.bodies = metrics.gauge(
            "gateway_body_bytes", "Bytes of request bodies being read and handled."
        )
