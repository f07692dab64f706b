"""Metrics of the notifier."""

from __future__ import annotations

from penstock_kit.telemetry.metrics import Metrics

__all__ = ["NotifierMetrics"]


class NotifierMetrics:
    """What the notifier counts; labels are close codes, message types and error codes."""

    def __init__(self, metrics: Metrics) -> None:
        self.sockets = metrics.gauge("notifier_sockets", "Open sockets, authenticated or not.")
        self.subscriptions = metrics.gauge("notifier_subscriptions", "Jobs followed by sockets.")
        self.opened = metrics.counter("notifier_sockets_opened_total", "Handshakes accepted.")
        self.refused = metrics.counter(
            "notifier_handshakes_refused_total", "Handshakes refused, by HTTP status.", "status"
        )
        self.closed = metrics.counter(
            "notifier_sockets_closed_total", "Sockets closed by the server, by reason.", "reason"
        )
        self.messages = metrics.counter(
            "notifier_messages_total", "Messages of clients, by type.", "type"
        )
        self.errors = metrics.counter(
            "notifier_errors_total", "Error messages sent to clients, by code.", "code"
        )
        self.frames = metrics.counter("notifier_frames_total", "Frames sent to clients.")
        self.queued = metrics.counter(
            "notifier_frames_queued_total", "Frames that had to wait for a slow reader."
        )
