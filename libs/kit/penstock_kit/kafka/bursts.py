"""Records that nobody waits for: at once while few come, in bursts while many.

A record that comes alone costs client, broker and every reader of the topic a request, which is
more than thirty records in one answer do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from penstock_kit.kafka.ports import Ack, OutRecord, Producer, ProducerFull

__all__ = ["Bursts"]


class Bursts:
    """In front of a producer, which must be stopped later. Order is kept.

    Args:
        producer: takes the records.
        pause: between two bursts; a record is handed on at most so late.
        on_ack: as `send_soon` takes it.
        on_full: told how many records were dropped, where the producer has no room for them.
            None: they wait for the next burst, and `flush` says so.
    """

    def __init__(
        self,
        producer: Producer,
        *,
        pause: timedelta,
        on_ack: Callable[[Ack | None, Exception | None], None] | None = None,
        on_full: Callable[[int], None] | None = None,
    ) -> None:
        self._producer = producer
        self._pause_s = pause.total_seconds()
        self._on_ack = on_ack
        self._on_full = on_full
        self._waiting: list[OutRecord] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """How many records wait."""
        return len(self._waiting)

    async def stop(self) -> None:
        """Hand on what waits, if there is room; works twice."""
        self._stop_timer()
        self.flush()

    def drop(self) -> None:
        """Forget what waits."""
        self._stop_timer()
        self._waiting = []

    def tell(self, record: OutRecord) -> None:
        """Hand a record on now, or with others after the pause that the last one began."""
        self._waiting.append(record)
        if self._timer is None:
            self._burst()

    def flush(self) -> bool:
        """Hand on what waits; whether there was room for all of it."""
        waiting, self._waiting = self._waiting, []
        for at, record in enumerate(waiting):
            try:
                self._producer.send_soon(record, self._on_ack)
            except ProducerFull:
                if self._on_full is None:
                    self._waiting = waiting[at:]
                else:
                    self._on_full(len(waiting) - at)
                return False
        return True

    def _burst(self) -> None:
        self._timer = None
        if self._waiting:
            self.flush()
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._burst)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
