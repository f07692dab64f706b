"""What must be proven before a job that somebody may have begun is begun again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from enum import IntEnum

from penstock_kit.errors import Busy, Retryable
from penstock_kit.jobs.coverage import Coverage
from penstock_kit.jobs.epoch import TableEpoch, TableNow
from penstock_kit.jobs.leases import Leases

__all__ = ["Doubts", "Proof"]

_REMEMBERED = 20_000
_LOOK_AGAIN_S = 0.1
_REBUILT_S = 1.0
"""Pause of each record while the table is rebuilt: all that wait in a process ask, and the rebuild
needs Redis, too."""
_UNTIL_SLACK_MS = 5_000
"""A call may end a little after the deadline that its worker told."""


class Proof(IntEnum):
    """What is known for sure; each step holds the ones before."""

    NOTHING = 0
    LOG = 1
    """The table is whole and has all events up to now."""
    OWNER = 2
    """Also, who let its lease run out is dead: all that live had the time to renew theirs."""
    STRANGER = 3
    """Also, who was never seen to hold a lease is dead: it has had a lease's time to appear."""


class Doubts:
    """Settles doubts by facts, or says what is waited for; never by guessing."""

    def __init__(self, *, epoch: TableEpoch, leases: Leases, coverage: Coverage) -> None:
        self._epoch = epoch
        self._leases = leases
        self._coverage = coverage
        self._since: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    async def settle(self, needed: Proof, about: str, *, until_ms: int) -> bytes:
        """Return once the proof is there: the epoch of the table under which it holds.

        Args:
            needed: how much is to be proven.
            about: what the doubt is about; the log is looked at as of the first doubt about it.
            until_ms: when the earlier call has ended at the latest; 0 if nobody knows.

        Raises:
            Busy: not proven yet; keep the record, ask again.
            TableAway: Redis does not answer.
        """
        table = await self._epoch.look()
        if table.epoch is None:
            raise Busy(
                "the job table is being rebuilt, and another worker may have begun this job, or "
                "ended it; the job waits",
                retry_after_s=_REBUILT_S,
            )
        since = self._first_doubt(about, table.epoch)
        is_past = 0 < until_ms < table.now_ms - _UNTIL_SLACK_MS
        if needed >= Proof.OWNER and not is_past:
            self._require_readable_leases(table)
        waited_ms = (asyncio.get_running_loop().time() - since) * 1000
        if needed is Proof.STRANGER and not is_past and waited_ms < self._leases.lease_ms:
            raise _wait("who began this job without a lease has a lease's time to renew it")
        try:
            is_covered = await self._coverage.covers(since)
        except Retryable as away:
            raise _wait(f"the end of the events topic cannot be read: {away}") from away
        if not is_covered:
            raise _wait("the recorder has not folded yet what an earlier worker may have written")
        return table.epoch

    def settled(self, about: str) -> bytes:
        """The epoch under which the log was found folded for this; empty: it was not yet.

        It holds only while Redis is the same process with the same table, which whoever relies on
        it has to check.
        """
        epoch, since = self._since.get(about, (b"", 0.0))
        return epoch if epoch and self._coverage.has_covered(since) else b""

    def _require_readable_leases(self, table: TableNow) -> None:
        if table.age_ms < self._leases.lease_ms:
            raise _wait("the job table has just been rebuilt; owners that live renew their leases")
        if not self._leases.is_steady:
            raise _wait("Redis has not answered long enough to know who lives")

    def _first_doubt(self, about: str, epoch: bytes) -> float:
        known = self._since.get(about)
        if known is None or known[0] != epoch:
            known = self._since[about] = (epoch, asyncio.get_running_loop().time())
            if len(self._since) > _REMEMBERED:
                self._since.popitem(last=False)
        return known[1]

    def forget(self, about: str) -> None:
        """The doubt is settled, or somebody was alive: look at the log anew next time."""
        self._since.pop(about, None)


def _wait(reason: str) -> Busy:
    return Busy(f"{reason}; the job waits", retry_after_s=_LOOK_AGAIN_S)
