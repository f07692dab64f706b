"""Every metric of the gateway: name, meaning, unit and (bounded) labels."""

from __future__ import annotations

from penstock_kit.telemetry.metrics import Metrics

__all__ = ["GatewayMetrics"]


class GatewayMetrics:
    """Declared once per process."""

    def __init__(self, metrics: Metrics) -> None:
        self.requests = metrics.counter(
            "gateway_requests_total", "Answers sent.", "route", "method", "status"
        )
        self.request_seconds = metrics.histogram(
            "gateway_request_seconds",
            "From the first byte of a request to the answer's head.",
            "route",
        )
        self.jobs_accepted = metrics.counter(
            "gateway_jobs_accepted_total", "Jobs that the log has acknowledged.", "task"
        )
        self.degraded = metrics.counter(
            "gateway_degraded_total",
            "Times that something optional was left out because a dependency was away.",
            "what",
        )
        self.streams = metrics.gauge("gateway_open_streams", "Event streams being read.")
        self.streams_cut = metrics.counter(
            "gateway_streams_cut_total", "Streams ended before their job.", "reason"
        )
        self.sockets = metrics.gauge("gateway_open_sockets", "Sockets of `/v1/responses`.")
        self.sockets_closed = metrics.counter(
            "gateway_sockets_closed_total", "Sockets that the gateway has ended.", "reason"
        )
        self.waiting = metrics.gauge(
            "gateway_waiting_jobs", "Jobs seen queued and not started.", "task", "priority"
        )
