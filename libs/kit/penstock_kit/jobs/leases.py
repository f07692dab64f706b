"""The heartbeat of a process: it keeps the leases of all attempts that run here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta

import structlog

from penstock_kit.jobs.verdicts import Begin, LostOutcome
from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_client import RedisClient, redis_errors, script_source
from penstock_kit.redis_line import Argument, ScriptLine

__all__ = ["LEDGER_TTL", "Leases", "ledger_keys"]

log = structlog.get_logger(__name__)

LEDGER_TTL = timedelta(days=8)
"""Longer than the request topics keep a record: a repetition finds the job's end as long as it can
come."""
_BEATS_PER_LEASE = 3
_LONGEST_GAP = 0.75
"""Part of a lease without an answer of Redis after which the living may look dead."""

Held = Begin | LostOutcome


class Leases:
    """A Part. Beats even when nothing is held, so that it knows since when Redis has answered."""

    def __init__(self, redis: RedisClient, *, lease: timedelta) -> None:
        self._redis = redis
        self._lease_s = lease.total_seconds()
        self._hold = ScriptLine(redis, script_source("hold"))
        self._held: dict[str, Held] = {}
        self._steady_since: float | None = None
        self._answered_at = float("-inf")
        self._heartbeat: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def lease_ms(self) -> int:
        """Without heartbeat for so long an owner is dead."""
        return int(self._lease_s * 1000)

    @property
    def is_steady(self) -> bool:
        """Whether Redis has answered for a whole lease: then all that live have renewed theirs."""
        now = asyncio.get_running_loop().time()
        if self._steady_since is None or self.may_lapse_since(self._answered_at):
            return False
        return now - self._steady_since >= self._lease_s

    @property
    def may_have_lapsed(self) -> bool:
        """Whether no beat came through for so long that others may think us dead.

        False before the first beat: who has just begun has not slept.
        """
        has_beaten = self._answered_at > float("-inf")
        return has_beaten and self.may_lapse_since(self._answered_at)

    def may_lapse_since(self, then: float) -> bool:
        """Whether a lease renewed at that loop time, and not since, may be found run out."""
        return asyncio.get_running_loop().time() - then > self._lease_s * _LONGEST_GAP

    async def start(self) -> None:
        """Begin to beat."""
        if self._heartbeat is None:
            self._stopping.clear()
            self._heartbeat = asyncio.create_task(self._beat_for_ever(), name="attempts heartbeat")

    async def stop(self) -> None:
        """Stop beating; leases that are still held run out by themselves."""
        self._stopping.set()
        if self._heartbeat is not None:
            # Not cancelled: redis-py may lose a cancel that comes while a reply does.
            await asyncio.wait({self._heartbeat})
            self._heartbeat = None
        await self._hold.stop()

    def keep(self, held: Held) -> None:
        """Renew this one from now on; it replaces an earlier attempt of its owner."""
        self._held[held.owner] = held

    def drop(self, held: Held) -> None:
        """Renew this one no more."""
        self._held.pop(held.owner, None)

    @property
    def held(self) -> list[Held]:
        """What is renewed now."""
        return list(self._held.values())

    def is_held(self, held: Held) -> bool:
        """Whether nobody is known to have taken it over."""
        kept = self._held.get(held.owner)
        # Not the whole value: who delivers the job may know more of its past than Redis did.
        return kept is not None and kept.attempt == held.attempt

    def note_silence(self) -> None:
        """Redis did not answer somebody here: leases may have run out although owners live."""
        self._steady_since = None

    async def renew(self, held: Sequence[Held]) -> None:
        """Renew these now.

        Raises:
            TableAway: Redis does not answer.
        """
        ttl_s = int(LEDGER_TTL.total_seconds())
        calls: list[tuple[list[str], list[Argument]]] = [
            (
                ledger_keys(one),
                [one.owner, one.place, self.lease_ms, ttl_s, one.attempt, one.crashes, one.line],
            )
            for one in held
        ]
        with redis_errors("keeping leases"):
            replies = await self._hold.call_many(calls)
        for one, reply in zip(held, replies, strict=True):
            if reply == 0 and self.is_held(one):
                self.drop(one)
                log.error("attempt.lease_lost", job=one.job, attempt=one.attempt)

    async def _beat_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._beat()
            except TableAway as error:
                self.note_silence()
                log.warning("attempts.heartbeat_missed", held=len(self._held), error=str(error))
            except Exception:  # the loop's edge: a beat that fails must not end the heartbeat
                self.note_silence()
                log.exception("attempts.heartbeat_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / _BEATS_PER_LEASE):
                    await self._stopping.wait()

    async def _beat(self) -> None:
        if held := self.held:
            await self.renew(held)
        else:
            with redis_errors("beating"):
                await self._redis.ping()
        now = asyncio.get_running_loop().time()
        if self._steady_since is None or self.may_lapse_since(self._answered_at):
            self._steady_since = now
        self._answered_at = now


def ledger_keys(held: Held) -> list[str]:
    """The ledger and the lease of a job."""
    key = held.scope.job_key(held.job)
    return [f"{key}:ledger", f"{key}:lease"]
