"""Who is connected: limits in all and per tenant, and the way to send everybody away."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from penstock_kit.auth.principal import Principal

from gateway.metrics import GatewayMetrics
from gateway.openai.socket.close_codes import RESTART, Close

__all__ = ["Roster", "RosterLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterLimits:
    """How many sockets may be open."""

    total: int
    per_tenant: int


class Endable(Protocol):
    """A session."""

    def end(self, close: Close) -> None:
        """Close it; works twice."""
        ...


class Roster:
    """All sockets of the process."""

    def __init__(self, limits: RosterLimits, metrics: GatewayMetrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._sessions: dict[Endable, Principal] = {}
        self._tenants: Counter[str] = Counter()
        self.is_draining = False

    def enter(self, session: Endable, principal: Principal) -> bool:
        """Count a socket in; False if there are too many."""
        tenant = principal.tenant
        if (
            len(self._sessions) >= self._limits.total
            or self._tenants[tenant] >= self._limits.per_tenant
        ):
            return False
        self._sessions[session] = principal
        self._tenants[tenant] += 1
        self._metrics.sockets.set(len(self._sessions))
        return True

    def leave(self, session: Endable) -> None:
        """Count a socket out; one that never entered is no error."""
        principal = self._sessions.pop(session, None)
        if principal is None:
            return
        self._tenants[principal.tenant] -= 1
        if not self._tenants[principal.tenant]:
            del self._tenants[principal.tenant]
        self._metrics.sockets.set(len(self._sessions))

    def drain(self) -> None:
        """Send everybody away, later ones too: their responses run on."""
        self.is_draining = True
        for session in tuple(self._sessions):
            session.end(RESTART)
