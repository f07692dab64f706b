"""Metrics of webhooks and replies; labels are bounded sets of our own."""

from __future__ import annotations

from penstock_kit.telemetry.metrics import Metrics

__all__ = ["WebhookMetrics"]


class WebhookMetrics:
    """What is counted about webhooks and replies."""

    def __init__(self, metrics: Metrics) -> None:
        self.noticed = metrics.counter(
            "notifier_webhook_events_total", "Ends that an endpoint wanted to be told.", "family"
        )
        self.written = metrics.counter(
            "notifier_webhook_deliveries_written_total", "Deliveries written, one per endpoint."
        )
        self.tries = metrics.counter(
            "notifier_webhook_tries_total",
            "Requests by what became of them: 2xx, 3xx, 4xx, 5xx, timeout, dns, connect, tls,"
            " protocol, refused_address, refused_url.",
            "outcome",
        )
        self.delivered = metrics.counter(
            "notifier_webhook_delivered_total", "Deliveries that a receiver took."
        )
        self.given_up = metrics.counter(
            "notifier_webhook_given_up_total",
            "Deliveries that nobody will try again: exhausted, gone, removed, disabled.",
            "reason",
        )
        self.suspended = metrics.counter(
            "notifier_webhook_suspensions_total", "Endpoints suspended, by reason.", "reason"
        )
        self.replies = metrics.counter(
            "notifier_replies_total",
            "Ends told in the topic that the job's producer named: written, refused.",
            "outcome",
        )
        self.seconds = metrics.histogram(
            "notifier_webhook_request_seconds", "From sending to the receiver's status."
        )
