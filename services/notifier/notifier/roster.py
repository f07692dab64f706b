"""Who is connected: limits, signs of life, credentials that have ended, highest age."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

from penstock_kit.auth.principal import Authenticator, Principal
from penstock_kit.clock import Clock

from notifier.close_codes import EXPIRED, FORBIDDEN, MAX_AGE, NO_PONG, RESTART

if TYPE_CHECKING:
    from notifier.session import Session

__all__ = ["Full", "Roster", "RosterLimits"]

_SPREAD_MS_PER_SOCKET: Final = 2.0
"""Sockets of a process that stops come back over this time each: 500 handshakes a second."""
_MIN_SPREAD_MS: Final = 1_000
_MAX_SPREAD_MS: Final = 30_000
_MAX_MISSED_PINGS: Final = 2
"""One pong may be late behind a large message; docs/websocket.md promises two."""


class Full(Enum):
    """Why a socket was not let in."""

    SERVER = auto()
    """This process holds as many as it can: another may take the client."""
    CALLER = auto()
    """The user or the tenant has too many open here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterLimits:
    """How many may be connected, and for how long."""

    total: int
    per_tenant: int
    per_user: int
    ping_s: float
    max_age_s: float


K = TypeVar("K")


class Roster:
    """All authenticated sockets of the process; `tick` once a second does what is due."""

    def __init__(
        self, limits: RosterLimits, *, authenticator: Authenticator, clock: Clock, random: Random
    ) -> None:
        self._limits = limits
        self._authenticator = authenticator
        self._clock = clock
        self._random = random
        self._sessions: dict[Session, Principal] = {}
        self._by_principal: dict[Principal, set[Session]] = {}
        """Two tokens of one user are two principals: one may expire before the other."""
        self._tenants: Counter[str] = Counter()
        self._users: Counter[tuple[str, str]] = Counter()
        self.is_draining = False

    def __len__(self) -> int:
        return len(self._sessions)

    def enter(self, session: Session, principal: Principal) -> Full | None:
        """Count a socket in; or tell why there are too many, and count nothing."""
        limits, user = self._limits, (principal.tenant, principal.user)
        if (
            self._tenants[principal.tenant] >= limits.per_tenant
            or self._users[user] >= limits.per_user
        ):
            return Full.CALLER
        if len(self._sessions) >= limits.total:
            return Full.SERVER
        now = self._clock.monotonic()
        session.next_check = now + self._pause()
        session.expires_at = now + limits.max_age_s * self._random.uniform(0.9, 1.0)
        self._sessions[session] = principal
        self._by_principal.setdefault(principal, set()).add(session)
        self._tenants[principal.tenant] += 1
        self._users[user] += 1
        return None

    def leave(self, session: Session) -> None:
        """Count a socket out; one that never entered is no error."""
        principal = self._sessions.pop(session, None)
        if principal is None:
            return
        peers = self._by_principal[principal]
        peers.discard(session)
        if not peers:
            del self._by_principal[principal]
        _decrement(self._tenants, principal.tenant)
        _decrement(self._users, (principal.tenant, principal.user))

    def tick(self) -> None:
        """End what has to end, ping who was silent."""
        self._end_dead_credentials()
        now = self._clock.monotonic()
        for session in [found for found in self._sessions if found.next_check <= now]:
            if now >= session.expires_at:
                session.end(MAX_AGE, hint_ms=self._random.randint(0, 5000))
            elif session.missed_pings >= _MAX_MISSED_PINGS:
                session.end(NO_PONG)
            else:
                session.next_check = min(now + self._pause(), session.expires_at)
                session.ping()

    def drain(self) -> None:
        """Send everybody away, each with another hint when to come back."""
        self.is_draining = True
        spread = len(self._sessions) * _SPREAD_MS_PER_SOCKET
        spread = min(max(spread, _MIN_SPREAD_MS), _MAX_SPREAD_MS)
        for session in tuple(self._sessions):
            session.end(RESTART, hint_ms=self._random.randint(100, int(spread)))

    def _end_dead_credentials(self) -> None:
        for principal, sessions in tuple(self._by_principal.items()):
            lapse = self._authenticator.lapse_of(principal)
            if lapse is None:
                continue
            close = FORBIDDEN if lapse.code == "revoked_api_key" else EXPIRED
            for session in tuple(sessions):
                session.end(close)

    def _pause(self) -> float:
        return self._limits.ping_s * self._random.uniform(0.8, 1.0)


def _decrement(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
