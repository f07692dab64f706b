"""Telling readers that jobs wait: at once while few come, in bursts while many.

An event that comes alone costs every reader of the topic a fetch, which is more than thirty events
in one answer do; a reader may have the hint some milliseconds late, or not at all.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from penstock_kit.kafka.ports import Ack, OutRecord, Producer, ProducerFull

from gateway.metrics import GatewayMetrics

__all__ = ["QueuedHints"]

_PAUSE = timedelta(milliseconds=10)
"""Between two bursts. A reader that has seen the job start meanwhile drops the hint."""


class QueuedHints:
    """In front of a producer, which must be stopped later. No room is no error, but counted."""

    def __init__(
        self, producer: Producer, metrics: GatewayMetrics, *, pause: timedelta = _PAUSE
    ) -> None:
        self._producer = producer
        self._metrics = metrics
        self._pause_s = pause.total_seconds()
        self._waiting: list[OutRecord] = []
        self._timer: asyncio.TimerHandle | None = None

    async def stop(self) -> None:
        """Send what waits; works twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._send_all()

    def tell(self, hint: OutRecord) -> None:
        """Send a hint now, or with others after the pause that the last one began."""
        self._waiting.append(hint)
        if self._timer is None:
            self._burst()

    def _burst(self) -> None:
        self._timer = None
        if self._waiting:
            self._send_all()
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._burst)

    def _send_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for at, hint in enumerate(waiting):
            try:
                self._producer.send_soon(hint, _ignore)
            except ProducerFull:
                # A hint only: the recorder folds the request itself.
                self._metrics.degraded.labels("queued_hint").inc(len(waiting) - at)
                return


def _ignore(_ack: Ack | None, _error: Exception | None) -> None:
    """A lost hint is no loss."""
