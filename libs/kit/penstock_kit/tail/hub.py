"""Ring and subscribers: what happens to an event once it has been read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from penstock_kit.tail.metrics import TailMetrics
from penstock_kit.tail.ring import EventRing
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.tenancy import TenantScope

__all__ = ["EventHub", "LiveEvents", "Sink", "Subscription"]

log = structlog.get_logger(__name__)

Sink = Callable[[TailedEvent], None]
"""Takes an event at once, on the event loop: it may only hand it on, never wait."""


class Subscription:
    """A sink's place among the subscribers; `close` ends it at once and works twice."""

    __slots__ = ("_key", "_places", "scope", "sink")

    def __init__(
        self,
        scope: TenantScope,
        sink: Sink,
        *,
        places: dict[str, dict[Subscription, None]],
        key: str,
    ) -> None:
        self.scope = scope
        self.sink = sink
        self._places = places
        self._key = key
        places.setdefault(key, {})[self] = None

    def close(self) -> None:
        """No event reaches the sink after this."""
        places = self._places.get(self._key)
        if places is None or places.pop(self, self) is self:
            return
        if not places:
            del self._places[self._key]


class LiveEvents(Protocol):
    """Events as they come, and the last ones: what streams are made of."""

    def subscribe(self, scope: TenantScope, job: str, sink: Sink) -> Subscription:
        """Hand every event of a job to `sink`, as long as the event itself lies in the scope."""
        ...

    def subscribe_scope(self, scope: TenantScope, sink: Sink) -> Subscription:
        """Hand every event of every job in the scope to `sink`."""
        ...

    def recent(self, scope: TenantScope, job: str) -> list[TailedEvent]:
        """What is kept of a job's stream and lies in the scope, in order: its newest part."""
        ...

    def owner(self, tenant: str, job: str) -> TenantScope | None:
        """Whose job of a tenant this is, if that is known here: tells foreign ids from new ones."""
        ...


class EventHub:
    """Keeps events and hands them to local subscribers. Implements `LiveEvents`; one thread."""

    def __init__(
        self, ring: EventRing, metrics: TailMetrics, *, watcher: Sink | None = None
    ) -> None:
        self._ring = ring
        self._watcher = watcher
        self._metrics = metrics
        self._by_job: dict[str, dict[Subscription, None]] = {}
        self._by_tenant: dict[str, dict[Subscription, None]] = {}

    def feed(self, event: TailedEvent) -> None:
        """Keep and hand on; events that the job's stream is already past are dropped."""
        if not self._ring.add(event):
            self._metrics.stale.inc()
            return
        if self._watcher is not None:
            self._watcher(event)
        subscribers = self._by_job.get(event.job)
        if subscribers:
            self._hand_on(event, tuple(subscribers))
        subscribers = self._by_tenant.get(event.tenant)
        if subscribers:
            self._hand_on(event, tuple(subscribers))

    def forget(self, tenant: str, job: str) -> None:
        """The owner wants the job's content gone: nobody reads here what came until now."""
        self._ring.forget(tenant, job)

    def subscribe(self, scope: TenantScope, job: str, sink: Sink) -> Subscription:
        """See `LiveEvents.subscribe`."""
        return Subscription(scope, sink, places=self._by_job, key=job)

    def subscribe_scope(self, scope: TenantScope, sink: Sink) -> Subscription:
        """See `LiveEvents.subscribe_scope`."""
        return Subscription(scope, sink, places=self._by_tenant, key=scope.tenant)

    def recent(self, scope: TenantScope, job: str) -> list[TailedEvent]:
        """See `LiveEvents.recent`."""
        return [event for event in self._ring.recent(scope.tenant, job) if event.is_in(scope)]

    def owner(self, tenant: str, job: str) -> TenantScope | None:
        """See `LiveEvents.owner`."""
        newest = self._ring.newest(tenant, job)
        return TenantScope(newest.tenant, newest.user) if newest else None

    @property
    def has_listeners(self) -> bool:
        """Whether anybody is subscribed."""
        return bool(self._by_job or self._by_tenant)

    @property
    def subscriptions(self) -> int:
        """How many there are, for metrics."""
        return sum(map(len, self._by_job.values())) + sum(map(len, self._by_tenant.values()))

    def _hand_on(self, event: TailedEvent, subscriptions: tuple[Subscription, ...]) -> None:
        tenant, user = event.tenant, event.user
        for subscription in subscriptions:
            scope = subscription.scope
            # `TenantScope.may_see` by hand: this line runs once per event and subscriber.
            if scope.tenant != tenant or (scope.user is not None and scope.user != user):
                continue
            try:
                subscription.sink(event)
            except Exception:
                self._metrics.sink_failures.inc()
                log.exception("tail.sink_failed", job=event.job)
