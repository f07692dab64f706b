"""Who runs which attempt of a job: numbers never repeat, leases tell the living from the dead."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog
from penstock_contracts.events import JobStatus
from penstock_contracts.requests import Charge

from penstock_kit.errors import Busy
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.jobs.view import TableAway
from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.redis_client import RedisClient, load_script, redis_errors
from penstock_kit.tenancy import TenantScope

__all__ = ["AlreadyOver", "Attempts", "Begin", "LostOutcome"]

log = structlog.get_logger(__name__)

_LEDGER_TTL = timedelta(days=8)
"""Longer than the request topics keep a record: a repetition finds the job's end as long as it can
come."""
_MAX_WAIT_S = 1.0
"""Longest advice to wait for another's lease: a lease that is let go is noticed within a second."""
_REMEMBERED = 20_000
"""Deliveries whose last attempt number is kept in the process, for the time while Redis is away."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Run this attempt. Hand the value back to `begin_again` or `finish`.

    Attributes:
        attempt: number of the attempt, from 1, higher than any before.
        had_output: an earlier attempt may have sent output: after `started`, send `reset`.
        owner: this delivery, in the words of its lease.
    """

    scope: TenantScope
    job: str
    attempt: int
    had_output: bool
    owner: str


@dataclass(frozen=True, slots=True)
class LostOutcome:
    """Do not call: an earlier attempt of an at-most-once job began, and nobody knows how it ended.

    The caller ends the job as `unknown_outcome` under this attempt number, then hands the value to
    `finish`.
    """

    scope: TenantScope
    job: str
    attempt: int
    owner: str


@dataclass(frozen=True, slots=True)
class AlreadyOver:
    """Nothing to do: the job has ended. Let the record pass."""

    status: JobStatus


class Attempts:
    """A Part: its heartbeat keeps the leases of all attempts that this process runs.

    Redis away: a record that nobody can have begun before goes straight through; any other waits
    (`Busy`).
    """

    def __init__(
        self, redis: RedisClient, *, instance: str, lease: timedelta = timedelta(seconds=10)
    ) -> None:
        """`instance` is unique per process start; without heartbeat for `lease` it is dead."""
        self._redis = redis
        self._instance = instance
        self._lease_ms = int(lease.total_seconds() * 1000)
        self._begin = load_script(redis, "begin")
        self._hold = load_script(redis, "hold")
        self._finish = load_script(redis, "finish")
        self._held: dict[str, Begin | LostOutcome] = {}
        self._last: OrderedDict[str, int] = OrderedDict()
        self._heartbeat: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the heartbeat."""
        if self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._beat_for_ever(), name="attempts heartbeat")

    async def stop(self) -> None:
        """End the heartbeat; leases that are still held run out by themselves."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.wait({self._heartbeat})
            self._heartbeat = None

    async def begin(
        self, request: VerifiedRequest, delivery: Delivery
    ) -> Begin | LostOutcome | AlreadyOver:
        """The next attempt of the job; one round trip.

        Raises:
            Busy: another process is at it, or Redis is away and somebody may have begun; keep the
            record and wait.
        """
        owner = self._owner(delivery)
        made = request.envelope.attempt or 0
        try:
            reply = await self._ask(request, delivery, owner, made)
        except TableAway:
            return self._begin_blind(request, delivery, owner, made)
        return self._answer(request, owner, reply)

    async def begin_again(self, begun: Begin, *, had_output: bool) -> Begin:
        """A further attempt within the same delivery; works while Redis is away."""
        again = replace(begun, attempt=begun.attempt + 1, had_output=begun.had_output or had_output)
        self._keep(again)
        try:
            await self._beat([again])
        except TableAway:
            log.warning("attempt.unrecorded", job=begun.job, attempt=again.attempt)
        return again

    async def finish(self, begun: Begin | LostOutcome, status: JobStatus | None) -> None:
        """Let go. `status`: how the job ended, its event acked; None: another attempt follows.

        Redis away: the lease runs out by itself.
        """
        self._held.pop(begun.owner, None)
        ended = status.value if status is not None else ""
        ttl_s = int(_LEDGER_TTL.total_seconds())
        try:
            with redis_errors("ending an attempt"):
                await self._finish.run(_keys(begun)[1:], [begun.owner, ttl_s, begun.attempt, ended])
        except TableAway:
            log.warning("attempt.unreleased", job=begun.job, attempt=begun.attempt)

    def _owner(self, delivery: Delivery) -> str:
        record = delivery.record
        return (
            f"{self._instance}|{record.topic}|{record.partition}|{record.offset}|{delivery.epoch}"
        )

    async def _ask(
        self, request: VerifiedRequest, delivery: Delivery, owner: str, made: int
    ) -> list[Any]:
        at_most_once = request.request.charge is Charge.AT_MOST_ONCE
        ttl_s = int(_LEDGER_TTL.total_seconds())
        key = request.scope.job_key(request.job)
        keys = [key, f"{key}:ledger", f"{key}:lease"]
        with redis_errors("beginning an attempt"):
            if delivery.is_suspect and not await self._redis.exists(EPOCH_KEY):
                raise TableAway("the job table is being rebuilt; jobs that may have begun wait")
            reply: list[Any] = await self._begin.run(
                keys, [owner, self._lease_ms, ttl_s, made, int(at_most_once)]
            )
            return reply

    def _answer(
        self, request: VerifiedRequest, owner: str, reply: list[Any]
    ) -> Begin | LostOutcome | AlreadyOver:
        verdict, value = reply[0], reply[1]
        if verdict == b"over":
            return AlreadyOver(JobStatus(value.decode()))
        if verdict == b"busy":
            wait_s = min(max(int(value), 1) / 1000, _MAX_WAIT_S)
            raise Busy("another worker runs this job; its lease is alive", retry_after_s=wait_s)
        begun: Begin | LostOutcome
        if verdict == b"lost":
            begun = LostOutcome(request.scope, request.job, int(value), owner)
        else:
            begun = Begin(request.scope, request.job, int(value), bool(reply[2]), owner)
        self._keep(begun)
        return begun

    def _begin_blind(
        self, request: VerifiedRequest, delivery: Delivery, owner: str, made: int
    ) -> Begin:
        """Without Redis: what nobody can have begun, or what this very process has counted."""
        last = self._last.get(owner)
        if delivery.is_suspect or (last is None and delivery.deliveries > 1):
            raise Busy(
                "Redis is away and another worker may have begun this job; it waits",
                retry_after_s=_MAX_WAIT_S,
            )
        begun = Begin(
            request.scope, request.job, max(last or 0, made) + 1, had_output=bool(last), owner=owner
        )
        self._keep(begun)
        return begun

    def _keep(self, begun: Begin | LostOutcome) -> None:
        self._held[begun.owner] = begun
        self._last[begun.owner] = begun.attempt
        self._last.move_to_end(begun.owner)
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            try:
                await self._beat(list(self._held.values()))
            except TableAway as error:
                log.warning("attempts.heartbeat_missed", held=len(self._held), error=str(error))

    async def _beat(self, held: list[Begin | LostOutcome] | list[Begin]) -> None:
        if not held:
            return
        ttl_s = int(_LEDGER_TTL.total_seconds())
        with redis_errors("keeping leases"):
            replies = await self._hold.run_many(
                [
                    (_keys(begun)[1:], [begun.owner, self._lease_ms, ttl_s, begun.attempt])
                    for begun in held
                ]
            )
        for begun, reply in zip(held, replies, strict=True):
            if reply == 0:
                log.error("attempt.lease_lost", job=begun.job, attempt=begun.attempt)


def _keys(begun: Begin | LostOutcome) -> list[str]:
    key = begun.scope.job_key(begun.job)
    return [key, f"{key}:ledger", f"{key}:lease"]
