"""Who runs which attempt of a job: numbers never repeat, leases tell the living from the dead."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog
from penstock_contracts.events import JobStatus
from penstock_contracts.ids import may_come_again
from penstock_contracts.requests import Charge

from penstock_kit.errors import Busy
from penstock_kit.intake import Sender, VerifiedRequest
from penstock_kit.jobs.asks import Asks
from penstock_kit.jobs.coverage import Coverage, EventLog, FoldMarks
from penstock_kit.jobs.doubts import Doubts, Proof
from penstock_kit.jobs.epoch import TableEpoch
from penstock_kit.jobs.leases import LEDGER_TTL, Leases, ledger_keys
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.jobs.verdicts import (
    AlreadyOver,
    Begin,
    LostOutcome,
    Moved,
    Verdict,
    line_of,
    owner_of,
    place_of,
)
from penstock_kit.jobs.view import TableAway
from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.redis_client import RedisClient, redis_errors, script_source
from penstock_kit.redis_line import ScriptLine

__all__ = ["AlreadyOver", "Attempts", "Begin", "LostOutcome", "Moved", "Verdict"]

log = structlog.get_logger(__name__)

_MAX_WAIT_S = 1.0
"""Longest advice to wait: a lease that is let go, or a job that moved on, is noticed within a
second."""
_REMEMBERED = 10_000
"""Jobs whose last attempt is kept in the process, for the time while Redis is away."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """Who asks for an attempt of what."""

    request: VerifiedRequest | Sender
    delivery: Delivery
    owner: str
    made: int
    even_early: bool

    @property
    def key(self) -> str:
        return self.request.scope.job_key(self.request.job)

    @property
    def place(self) -> str:
        return place_of(self.delivery)

    @property
    def line(self) -> str:
        return line_of(self.delivery)

    @property
    def assignment(self) -> str:
        return f"assignment {self.delivery.epoch}"

    @property
    def is_charged_once(self) -> bool:
        return _is_charged_once(self.request)


@dataclass(frozen=True, slots=True)
class _Known:
    """What this process did last for a job."""

    attempt: int
    owner: str
    line: str
    status: JobStatus | None = None


class Attempts:
    """A Part: its heartbeat keeps the leases of all attempts that this process runs.

    Redis away: a record that nobody can have begun before goes straight through, unless its job may
    be charged at most once; any other waits (`Busy`). What may have been begun is begun again only
    after a proof that nobody runs it and that the table has folded all that was written.
    """

    def __init__(
        self,
        redis: RedisClient,
        events: EventLog,
        *,
        instance: str,
        lease: timedelta = timedelta(seconds=10),
    ) -> None:
        """`instance` is unique per process start; without heartbeat for `lease` it is dead."""
        self._redis = redis
        self._instance = instance
        self._leases = Leases(redis, lease=lease)
        self._doubts = Doubts(
            epoch=TableEpoch(redis),
            leases=self._leases,
            coverage=Coverage(events, FoldMarks(redis)),
        )
        self._begin = ScriptLine(redis, script_source("begin"))
        self._finish = ScriptLine(redis, script_source("finish"))
        self._asks = Asks()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._late: set[str] = set()
        """Owners of attempts whose `begin` was answered so late that their leases may be over."""

    async def start(self) -> None:
        """Begin the heartbeat."""
        await self._leases.start()

    async def stop(self) -> None:
        """End the heartbeat, and let go of what still runs: its process ends, and is no crash.

        Stop whatever can call first: somebody else may begin these jobs from now on.
        """
        await self._leases.stop()
        await asyncio.gather(*(self.finish(held, None) for held in self._leases.held))
        await self._begin.stop()
        await self._finish.stop()

    async def begin(
        self,
        request: VerifiedRequest | Sender,
        delivery: Delivery,
        *,
        made: int = 0,
        even_early: bool = False,
    ) -> Verdict:
        """The next attempt of the job; one round trip, unless somebody may have begun it before.

        Args:
            request: the job; of one that is refused the sender is enough.
            delivery: the record that carries it.
            made: attempts made before, as the record itself says (the `attempt` of its state).
            even_early: begin though the next attempt is not due: the caller only ends the job.

        Raises:
            Busy: another process is at it, or that cannot be told yet, or the next attempt is not
            due; keep the record and wait.
        """
        owner = owner_of(self._instance, delivery)
        asking = _Asking(request, delivery, owner, made, even_early)
        asked_at = asyncio.get_running_loop().time()
        try:
            reply = await self._ask(asking, *self._known_proof(asking))
            if reply[0] == b"doubt":
                needed = Proof(int(reply[1]))
                epoch = await self._settle(asking, needed, until_ms=int(reply[2]))
                asked_at = asyncio.get_running_loop().time()
                reply = await self._ask(asking, needed, epoch)
        except TableAway:
            self._leases.note_silence()
            if self._leases.may_lapse_since(asked_at):
                raise _wait("this process slept; others may have begun this job since", 0) from None
            return self._begin_blind(asking)
        verdict = self._answer(asking, reply)
        if isinstance(verdict, Begin) and self._leases.may_lapse_since(asked_at):
            self._late.add(owner)
        return verdict

    async def begin_again(self, begun: Begin, *, had_output: bool) -> Begin:
        """A further attempt within the same delivery; works while Redis is away."""
        again = replace(begun, attempt=begun.attempt + 1, had_output=begun.had_output or had_output)
        self._keep(again)
        try:
            await self._leases.renew([again])
        except TableAway:
            log.warning("attempt.unrecorded", job=begun.job, attempt=again.attempt)
        return again

    async def finish(
        self,
        begun: Begin | LostOutcome,
        status: JobStatus | None,
        *,
        retry_in: timedelta | None = None,
    ) -> None:
        """Let go.

        Redis away: the lease runs out by itself.

        Args:
            begun: what `begin` or `begin_again` gave.
            status: how the job ended, its event acknowledged; None: it has not ended.
            retry_in: without a status: this attempt is known to be over, uncharged or told by
                `retrying`, and the next must not begin earlier than after this. None: nobody knows
                what became of the call; a job that may be charged at most once is lost then.
        """
        self._leases.drop(begun)
        self._late.discard(begun.owner)
        self._remember(begun, status)
        ended = status.value if status is not None else ""
        due_ms = "" if retry_in is None else int(retry_in.total_seconds() * 1000)
        ttl_s = int(LEDGER_TTL.total_seconds())
        try:
            with redis_errors("ending an attempt"):
                await self._finish.call(
                    ledger_keys(begun),
                    [begun.owner, begun.place, ttl_s, begun.attempt, ended, due_ms, begun.line],
                )
        except TableAway:
            self._leases.note_silence()
            log.warning("attempt.unreleased", job=begun.job, attempt=begun.attempt)
            if retry_in is not None:
                self._asks.settled(begun.owner)

    async def condemn(self, begun: Begin, *, reason: str, code: str) -> None:
        """Note, before the job is ended, that its record gets a dead letter after that.

        Redis away: if the process dies in between, the letter is not written; the job tells all.
        """
        ledger = ledger_keys(begun)[0]
        try:
            with redis_errors("noting a dead letter"):
                await self._redis.hset(ledger, "dead", f"{reason}:{code}")
        except TableAway:
            log.warning("attempt.condemned_unrecorded", job=begun.job, attempt=begun.attempt)

    async def confirm_awake(self, request: VerifiedRequest, begun: Begin) -> None:
        """`confirm` before `started`, where this process may have slept since it asked; else free.

        A `started` of who lost the job while it slept would take the place of another's.
        """
        is_late = begun.owner in self._late
        self._late.discard(begun.owner)
        if is_late or self._leases.may_have_lapsed:
            await self.confirm(request, begun)

    async def confirm(self, request: VerifiedRequest, begun: Begin) -> None:
        """Make sure that the attempt is still ours: between `started` and the call.

        Without it a process that slept, or a Redis that was emptied after `begin`, could make two
        workers call at once.

        Raises:
            Busy: somebody else has taken the job over, or that cannot be told of a job that may be
            charged at most once. Do not call.
        """
        try:
            await self._leases.renew([begun])
        except TableAway:
            self._leases.note_silence()
            if _is_charged_once(request):
                raise
            return
        if not self._leases.is_held(begun):
            raise _wait("another worker has taken this job over", 1000)

    def _known_proof(self, asking: _Asking) -> tuple[Proof, bytes]:
        """What was proven of this assignment before; the script asks for more where that lacks."""
        epoch = b""
        if asking.delivery.is_suspect or asking.is_charged_once:
            epoch = self._doubts.settled(asking.assignment)
        return (Proof.LOG, epoch) if epoch else (Proof.NOTHING, b"")

    async def _settle(self, asking: _Asking, needed: Proof, *, until_ms: int) -> bytes:
        about = asking.owner if needed >= Proof.OWNER else asking.assignment
        return await self._doubts.settle(needed, about, until_ms=until_ms)

    async def _ask(self, asking: _Asking, proof: Proof, epoch: bytes) -> list[Any]:
        known = self._known.get(asking.key)
        counted = known.attempt if known is not None and known.owner == asking.owner else 0
        keys = [asking.key, f"{asking.key}:ledger", f"{asking.key}:lease", EPOCH_KEY]
        with redis_errors("beginning an attempt"):
            reply: list[Any] = await self._begin.call(
                keys,
                [
                    asking.owner,
                    asking.place,
                    self._leases.lease_ms,
                    int(LEDGER_TTL.total_seconds()),
                    asking.made,
                    counted,
                    int(asking.is_charged_once),
                    int(asking.delivery.is_suspect),
                    int(proof),
                    epoch,
                    int(asking.even_early),
                    asking.line,
                    self._asks.number_of(asking.owner) if asking.is_charged_once else "",
                    int(may_come_again(asking.request.job)),
                ],
            )
        return reply

    def _answer(self, asking: _Asking, reply: list[Any]) -> Verdict:
        scope, job, owner = asking.request.scope, asking.request.job, asking.owner
        line = asking.line
        match reply:
            case [b"over", status, condemned]:
                return AlreadyOver(JobStatus(status.decode()), _condemned(condemned))
            case [b"moved"]:
                return Moved()
            case [b"busy", ms]:
                self._doubts.forget(owner)  # it lived: what it writes from now on counts too
                raise _wait("another worker runs this job; its lease is alive", ms)
            case [b"early", ms]:
                raise _wait("the next attempt of this job is not due yet", ms)
            case [b"doubt", *_]:
                raise _wait("Redis was emptied this very moment", 0)
            case [b"lost", attempt]:
                begun: Begin | LostOutcome = LostOutcome(scope, job, int(attempt), owner, line)
            case [b"begin", attempt, had_output, crashes]:
                begun = Begin(scope, job, int(attempt), bool(had_output), owner, line, int(crashes))
            case _:
                raise AssertionError(f"begin.lua replied {reply[0]!r}")
        self._asks.told(owner)
        self._doubts.forget(owner)
        self._keep(begun)
        return begun

    def _begin_blind(self, asking: _Asking) -> Verdict:
        """Without Redis: what nobody can have begun, or what this very process has counted."""
        known, delivery = self._known.get(asking.key), asking.delivery
        if known is not None and known.status is not None:
            return AlreadyOver(known.status)
        is_new = known is None or asking.made >= known.attempt
        if known is not None and known.line != asking.line and not is_new:
            return Moved()
        is_first = is_new and delivery.deliveries == 1
        is_mine = known is not None and known.owner == asking.owner
        if delivery.is_suspect or asking.is_charged_once or not (is_first or is_mine):
            raise Busy(
                "Redis is away and another worker may have begun this job; it waits",
                retry_after_s=_MAX_WAIT_S,
            )
        before = known.attempt if known is not None else 0
        begun = Begin(
            asking.request.scope,
            asking.request.job,
            max(before, asking.made) + 1,
            had_output=bool(before),
            owner=asking.owner,
            line=asking.line,
        )
        self._keep(begun)
        return begun

    def _keep(self, begun: Begin | LostOutcome) -> None:
        self._leases.keep(begun)
        self._remember(begun, None)

    def _remember(self, begun: Begin | LostOutcome, status: JobStatus | None) -> None:
        key = begun.scope.job_key(begun.job)
        self._known[key] = _Known(begun.attempt, begun.owner, begun.line, status)
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _is_charged_once(request: VerifiedRequest | Sender) -> bool:
    return isinstance(request, VerifiedRequest) and request.request.charge is Charge.AT_MOST_ONCE


def _condemned(raw: bytes) -> tuple[str, str] | None:
    reason, colon, code = raw.decode().partition(":")
    return (reason, code) if colon else None


def _wait(reason: str, ms: int) -> Busy:
    return Busy(reason, retry_after_s=min(max(int(ms), 1) / 1000, _MAX_WAIT_S))
