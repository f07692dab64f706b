"""The last events of all jobs, bounded by number and by bytes, with each job's events at hand."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from penstock_kit.tail.tailed import TailedEvent

__all__ = ["EventRing"]

_OVERHEAD_BYTES: Final = 600
"""What one event costs beside its value: objects, index entries and headers' strings (measured: 450
to 600)."""

_MAX_FENCES: Final = 20_000
"""Jobs with a second attempt are rare; each costs about 200 bytes."""
_OVER: Final = 1 << 62
"""The fence of a job that has ended: above all attempts."""


class EventRing:
    """Keeps events in the order in which they came; the oldest leave first.

    Within a job positions only rise, and nothing follows a terminal event: `add` refuses
    repetitions, what comes after the end, and whatever a worker of an earlier attempt still writes
    once a later one has begun, its end too (the fence). So what the ring holds of a job is always
    the newest part of its stream, without a hole of the ring's own making.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._order: deque[TailedEvent] = deque()
        self._jobs: dict[tuple[str, str], deque[TailedEvent]] = {}
        self._bytes = 0
        self._fences: OrderedDict[tuple[str, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    @property
    def size_bytes(self) -> int:
        """An estimate of the memory that the events take."""
        return self._bytes

    def add(self, event: TailedEvent) -> bool:
        """Keep an event; False if the job's stream is already past it."""
        # By tenant too: an event under a foreign tenant must not make a job's own events look late.
        key = (event.tenant, event.job)
        attempt = event.position.attempt
        if self._fences and attempt < self._fences.get(key, 0):
            return False
        events = self._jobs.get(key)
        if events is None:
            events = self._jobs[key] = deque()
        elif not self._follows(key, events[-1], event):
            return False
        if attempt > 1:
            self._raise_fence(key, attempt)
        events.append(event)
        self._order.append(event)
        self._bytes += _size(event)
        while len(self._order) > self._max_events or self._bytes > self._max_bytes:
            self._drop_oldest()
        return True

    def forget(self, tenant: str, job: str) -> None:
        """Give nothing of the job away any more; what comes later is kept as usual.

        What its events weigh is counted until they are the oldest.
        """
        self._jobs.pop((tenant, job), None)

    def recent(self, tenant: str, job: str) -> list[TailedEvent]:
        """What is kept of a tenant's job, in order."""
        return list(self._jobs.get((tenant, job), ()))

    def newest(self, tenant: str, job: str) -> TailedEvent | None:
        """The last event kept of a tenant's job."""
        events = self._jobs.get((tenant, job))
        return events[-1] if events else None

    def _follows(self, key: tuple[str, str], last: TailedEvent, event: TailedEvent) -> bool:
        if not last.is_terminal:
            return event.position > last.position
        if event.position.attempt <= last.position.attempt:
            return False
        if event.type == "started" or event.is_terminal:
            # Behind an end: void, and so is all that follows.
            self._raise_fence(key, _OVER)
            return False
        # Its start stands before all that was read here: so that end was behind the fence.
        return True

    def _raise_fence(self, key: tuple[str, str], attempt: int) -> None:
        """Outlasts the job's events: those leave the ring while a slow attempt says nothing."""
        self._fences[key] = attempt
        self._fences.move_to_end(key)
        if len(self._fences) > _MAX_FENCES:
            self._fences.popitem(last=False)

    def _drop_oldest(self) -> None:
        event = self._order.popleft()
        self._bytes -= _size(event)
        key = (event.tenant, event.job)
        events = self._jobs.get(key)
        if not events or events[0] is not event:
            return  # forgotten
        events.popleft()
        if not events:
            del self._jobs[key]


def _size(event: TailedEvent) -> int:
    return len(event.value) + _OVERHEAD_BYTES
