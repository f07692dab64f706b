"""Lets the number of handlers at work follow what they say of their dependencies."""

from __future__ import annotations

from penstock_kit.clock import Clock
from penstock_kit.errors import Busy
from penstock_kit.lanes.adaptive import AdaptiveLimit
from penstock_kit.lanes.keys import Entry
from penstock_kit.lanes.outcomes import Done, Outcome, Retry
from penstock_kit.lanes.window import Window

__all__ = ["Adapting"]


class Adapting:
    """Moves the window's limit below the policy's `max_in_flight`, with every outcome."""

    def __init__(self, window: Window, clock: Clock) -> None:
        self._window = window
        self._clock = clock
        self._limit = AdaptiveLimit(cap=window.limit)

    def saw(self, entry: Entry, outcome: Outcome | Exception) -> None:
        """A handler ended; it is still counted as running."""
        running = self._window.running
        if isinstance(outcome, Done):
            latency_s = self._clock.monotonic() - entry.started_at
            self._limit.succeeded(latency_s, in_flight=running)
        elif isinstance(outcome, Busy) or (isinstance(outcome, Retry) and outcome.is_overload):
            self._limit.refused(in_flight=running)
        self._window.limit = self._limit.limit
