"""How eagerly the live reader fetches: at once while little comes, in small batches while much.

Where nobody listens, nobody is kept waiting: then batches are larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

__all__ = ["CROWDED", "EAGER", "GATHERING", "UNHURRIED", "FetchPace", "FetchWait"]

_WINDOW_S: Final = 0.1
"""Events are counted over so long; a burst is answered at once for that time."""
_BUSY_PER_S: Final = 250
"""About six streams of tokens. A fetch costs as much CPU as thirty events, here and at the broker,
so one per event would be most of a busy reader's work."""
_CROWDED_PER_S: Final = 1_000
"""From here on streams wait for processors, not for fetches: fewer of these make all faster."""
_STEADY_PER_S: Final = 40
"""Below, one fetch per event costs nobody much, and an empty topic is asked rarely."""


@dataclass(frozen=True, slots=True)
class FetchWait:
    """What a fetch asks of the broker: answer with so many bytes, or after so long."""

    min_bytes: int
    max_wait_ms: int


EAGER: Final = FetchWait(min_bytes=1, max_wait_ms=100)
"""An answer as soon as there is anything; a resumed partition joins the next fetch, which bounds
its delay."""
GATHERING: Final = FetchWait(min_bytes=64 * 1024, max_wait_ms=5)
"""Events wait 2.5 ms on average, about what they would for a processor that is busy fetching."""
CROWDED: Final = FetchWait(min_bytes=64 * 1024, max_wait_ms=10)
"""The same with twice as many events at once."""
UNHURRIED: Final = FetchWait(min_bytes=64 * 1024, max_wait_ms=50)
"""Who begins to listen has the next events so late at most, once."""


class FetchPace:
    """Chooses by the rate of the last moments. Times are of one monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._count = 0
        self.wait = EAGER

    def note(self, events: int, now: float, *, has_listeners: bool) -> FetchWait:
        """So many events were read just now; how the next fetch should wait."""
        self._count += events
        elapsed = now - self._since
        is_late = has_listeners and self.wait is UNHURRIED and elapsed > 0
        if elapsed >= _WINDOW_S or is_late:
            self.wait = _wait_for(self._count / elapsed, has_listeners=has_listeners)
            self._since, self._count = now, 0
        return self.wait

    def steer(
        self, consumer: AIOKafkaConsumer, events: int, now: float, *, has_listeners: bool
    ) -> None:
        """`note`, and let the client's next fetch wait so; it reads both figures before each."""
        wait = self.note(events, now, has_listeners=has_listeners)
        fetcher = consumer._fetcher  # noqa: SLF001 - no public way to change them
        fetcher._fetch_min_bytes = wait.min_bytes  # noqa: SLF001 - the same
        fetcher._fetch_max_wait_ms = wait.max_wait_ms  # noqa: SLF001 - the same


def _wait_for(per_s: float, *, has_listeners: bool) -> FetchWait:
    if not has_listeners and per_s >= _STEADY_PER_S:
        return UNHURRIED
    if per_s >= _CROWDED_PER_S:
        return CROWDED
    return GATHERING if per_s >= _BUSY_PER_S else EAGER
