"""A clock that moves only by hand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

__all__ = ["HandClock"]


class HandClock:
    """Implements `Clock`; both clocks advance together."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now if now is not None else datetime(2026, 1, 1, tzinfo=timezone.utc)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """The instant it was set to."""
        return self._now

    def monotonic(self) -> float:
        """Seconds; moved by `advance` only."""
        return self._monotonic

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by
        self._monotonic += by.total_seconds()
