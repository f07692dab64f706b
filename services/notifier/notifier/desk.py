"""What all sockets of a process share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

from penstock_kit.auth.principal import Authenticator, Principal
from penstock_kit.clock import Clock
from penstock_kit.tail.hub import LiveEvents

from notifier.access import Access
from notifier.cancelling import Canceller
from notifier.frames import EventFrames, json_frame
from notifier.metrics import NotifierMetrics
from notifier.ports import Streams, TicketDesk
from notifier.roster import Roster
from notifier.wire_ports import SUBPROTOCOL

__all__ = ["Desk", "SessionLimits"]

_LATER_MS = (500, 3000)
"""When a client that was too fast or too many may come back, in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """What one client may do."""

    auth_timeout_s: float
    messages_per_s: int
    burst: float
    max_subscriptions: int
    ping_s: float
    max_age_s: float


@dataclass(slots=True, kw_only=True)
class Desk:
    """The services behind the sockets, and the tasks that work for them."""

    authenticator: Authenticator
    tickets: TicketDesk
    access: Access
    streams: Streams
    live: LiveEvents
    canceller: Canceller
    roster: Roster
    limits: SessionLimits
    clock: Clock
    random: Random
    metrics: NotifierMetrics
    events: EventFrames = field(default_factory=EventFrames)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """A task that is kept until it is over; the server awaits what is left when it stops."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def later_ms(self) -> int:
        """When to come back, jittered so that clients do not come all at once."""
        return self.random.randint(*_LATER_MS)

    def ready_frame(self, principal: Principal) -> bytes:
        """The first message to an authenticated client."""
        limits = self.limits
        return json_frame(
            {
                "type": "ready",
                "protocol": SUBPROTOCOL,
                "tenant": principal.tenant,
                "user": principal.user,
                "scope": principal.level.value,
                "ping_s": limits.ping_s,
                "max_age_s": limits.max_age_s,
                "max_subscriptions": limits.max_subscriptions,
                "messages_per_s": limits.messages_per_s,
            }
        )
