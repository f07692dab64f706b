"""The one question that each submit asks a store, and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Protocol

from penstock_kit.tenancy import TenantScope

from gateway.admission.rules import Quota

__all__ = [
    "EXACT_UP_TO",
    "SETTLE",
    "SLOTS",
    "SWEEP",
    "AdmissionStore",
    "Ask",
    "KeyClaim",
    "Reply",
    "Verdict",
    "WindowState",
]

EXACT_UP_TO: Final = 1000
"""Limits up to this are kept as a log of instants: exact. About 120 bytes per entry."""
SLOTS: Final = 60
"""Larger limits are counted in so many slots per window: never more than the limit passes in any
window, and a place is free again at most one slot (1/60 of the window) late."""
SETTLE: Final = timedelta(minutes=1)
"""An admitted job that the job table does not have after this is not waited for any more."""
SWEEP: Final = 1000
"""Admitted jobs that one ask looks at, at most, to leave out those that the job table counts: a
millisecond or two of Redis. The next asks go on with what a larger burst left."""


class Verdict(StrEnum):
    """What becomes of the job."""

    ADMITTED = "admitted"
    REPLAYED = "replayed"
    """The key stands for this job, and the log has it."""
    PENDING = "pending"
    """The key stands for this job, but nobody has seen the log acknowledge it: write it again."""
    REUSED = "reused"
    """The key stands for another body."""
    LIMITED = "limited"
    """A quota is used up."""
    BACKLOG = "backlog"
    """The tenant has too many unfinished jobs."""
    CLOSED = "closed"
    """The caller had said that only replays may pass."""


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """An Idempotency-Key: the route it is scoped to, itself, and the fingerprint of the body."""

    route: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """May this job come in? The answer takes effect at once.

    Attributes:
        backlog_limit: unfinished jobs that the tenant may have, this one included.
        is_open: whether a new job may pass at all; a replay always may.
        is_low_open: the same for a job that would be demoted.
        noisy_from: the tenant's unfinished jobs from which on this job is demoted; None: never.
    """

    scope: TenantScope
    job: str
    quotas: tuple[Quota, ...] = ()
    claim: KeyClaim | None = None
    backlog_limit: int
    is_open: bool = True
    is_low_open: bool = True
    noisy_from: int | None = None


@dataclass(frozen=True, slots=True)
class WindowState:
    """How a quota stands after the answer.

    `reset_s` is when the next place becomes free, 0 while nothing is used.
    """

    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What the store says; `windows` are in the order of the quotas.

    Attributes:
        blocked: index of the quota that is used up, with verdict `limited`.
        backlog: unfinished jobs of the tenant, without this one.
        at_ms: when a place was taken, on the store's clock; `refund` needs it.
        is_local: answered by this process alone, because Redis is away.
    """

    verdict: Verdict
    windows: tuple[WindowState, ...] = ()
    blocked: int = -1
    backlog: int = 0
    is_demoted: bool = False
    at_ms: int = 0
    is_local: bool = False


class AdmissionStore(Protocol):
    """Counts what came in and remembers Idempotency-Keys. Atomic: two asks never see the same."""

    async def admit(self, ask: Ask) -> Reply:
        """Decide, and take the places and the key if the job may come in. One round trip.

        Raises:
            TableAway: Redis does not answer.
        """
        ...

    def settle(self, ask: Ask, reply: Reply) -> None:
        """The log has the job: from now on its key replays. Best effort, does not wait.

        Losing it costs one repeated record, which workers drop.
        """
        ...

    async def refund(self, ask: Ask, reply: Reply) -> None:
        """The job was not written after all: free its places and its key. Best effort."""
        ...
