"""Signs of life of the poll thread and of the brokers, with the limits that lanes have."""

from __future__ import annotations

from typing import Final

from penstock_kit.clock import Clock
from penstock_kit.kafka.ports import Consumer
from penstock_kit.settings import STUCK_AFTER

__all__ = ["Pulse"]

_UNREADY_S: Final = STUCK_AFTER.total_seconds()
_FATAL_S: Final = 40.0
"""With what stopping takes on top, the process has ended within a minute."""
_ASLEEP_S: Final = 10.0
"""A thread that did not poll for so long could not hear a broker either: what it has not heard
counts from its next poll."""


class Pulse:
    """Written by the poll thread, judged on the event loop without waiting."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._consumer: Consumer | None = None
        self._polled_at = self._awake_since = clock.monotonic()
        self._frozen_at = -1.0

    def listen(self, consumer: Consumer) -> None:
        """This is the client that hears brokers."""
        self._consumer = consumer

    def beat(self) -> None:
        """The thread is about to poll."""
        now = self._clock.monotonic()
        if now - self._polled_at > _ASLEEP_S:
            self._awake_since = now
        self._polled_at = now

    @property
    def is_unheard(self) -> bool:
        """Whether brokers have been silent for so long that nothing can be committed any more."""
        return self._unheard_s() > _FATAL_S

    def trouble(self) -> str | None:
        """Why no records come, or None."""
        if (silent_s := self._silent_s()) > _UNREADY_S:
            return f"the poll thread has not polled for {silent_s:.0f} s; are the brokers there?"
        if (unheard_s := self._unheard_s()) > _UNREADY_S:
            return (
                f"no broker has answered for {unheard_s:.0f} s; look at the brokers and the network"
                " between"
            )
        return None

    def beyond_repair(self) -> str | None:
        """Why only a restart helps, or None; to be asked about once a second."""
        if (silent_s := self._silent_s()) > _FATAL_S:
            # A process that was stopped wakes up with a long silence: the thread gets a second.
            if self._polled_at == self._frozen_at:
                return (
                    f"the poll thread has not polled for {silent_s:.0f} s; the process must restart"
                )
            self._frozen_at = self._polled_at
            return None
        if self.is_unheard:
            return (
                f"no broker has answered for {self._unheard_s():.0f} s; the process must restart,"
                " with new connections"
            )
        return None

    def _silent_s(self) -> float:
        return self._clock.monotonic() - self._polled_at

    def _unheard_s(self) -> float:
        if self._consumer is None:
            return 0.0
        return min(self._consumer.unheard_s(), self._clock.monotonic() - self._awake_since)
