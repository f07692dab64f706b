"""What becomes of a record when its handler is done with it, or failed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from random import Random

import structlog
from penstock_contracts.dead import DeadReason
from penstock_contracts.retries import RetryNote

from penstock_kit.errors import Busy, Fatal, Rejected, Retryable
from penstock_kit.lanes.dead_letters import DeadLetters
from penstock_kit.lanes.dead_limit import DeadLimit
from penstock_kit.lanes.keys import Entry
from penstock_kit.lanes.metrics import LaneMetrics
from penstock_kit.lanes.outcomes import Dead, Done, Outcome, Retry
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.retries import Retries

__all__ = ["Fates"]

log = structlog.get_logger(__name__)

_WAITING_LOG_EVERY_S = 30.0
"""A dependency that is away makes every record wait: one line tells it as well as thousands."""


@dataclass(frozen=True, slots=True)
class _Wait:
    """The record stays, its key waits, nothing is counted."""

    pause: timedelta


class Fates:
    """Turns outcomes and errors into writes. Everything is acknowledged when `settle` returns.

    `retries` None: records are tried again in place.

    Attributes:
        retries: records put back or moved to a retry topic so far.
    """

    def __init__(
        self,
        *,
        dead_letters: DeadLetters,
        retries: Retries | None,
        policy: LanePolicy,
        metrics: LaneMetrics,
        name: str,
    ) -> None:
        self._dead_letters = dead_letters
        self._retries = retries
        self._policy = policy
        self._metrics = metrics
        self._limit = DeadLimit(policy.dead_per_minute, name=name)
        self._random = Random()  # noqa: S311 - jitter
        self._told_waiting_at = float("-inf")
        self.retries = 0

    def done(self) -> None:
        """A record needs nothing more. The one fate that is on the way of every record."""
        self._limit.finished += 1
        self._metrics.done.inc()

    async def settle(self, entry: Entry, outcome: Outcome | Exception) -> timedelta | None:
        """Do what follows; the pause before the next try in place, or None: it is finished.

        Raises:
            Fatal: the record must stay unfinished, and nothing more may start.
        """
        match self._of_error(entry, outcome) if isinstance(outcome, Exception) else outcome:
            case Done():
                self.done()
                return None
            case Dead() as dead:
                await self._bury(entry, dead)
                return None
            case Retry() as retry:
                return await self._again(entry, retry)
            case _Wait(pause):
                return pause

    def _of_error(self, entry: Entry, error: Exception) -> Dead | Retry | _Wait:
        match error:
            case Fatal():
                raise error
            case Rejected():
                return Dead(DeadReason.POISON, error.code, str(error))
            case Busy():
                self._metrics.busy.inc()
                self._tell_waiting(error)
                return _Wait(timedelta(seconds=error.retry_after_s))
            case Retryable():
                return self._failed(entry, error.retry_after_s, str(error))
            case _:
                self._metrics.unexpected.inc()
                log.error("lanes.handler_failed", **_place(entry), exc_info=error)
                return self._failed(entry, None, f"unexpected {type(error).__name__}")

    def _failed(self, entry: Entry, asked_s: float | None, detail: str) -> Dead | Retry:
        failures = entry.failures + 1
        if failures >= self._policy.attempts:
            return Dead(DeadReason.FAILURE, "attempts_exhausted", detail, attempts=failures)
        pause = self._policy.backoff.pause(failures, random=self._random.random, asked_s=asked_s)
        return Retry(after=pause, code="retryable", detail=detail, state=entry.state)

    async def _again(self, entry: Entry, retry: Retry) -> timedelta | None:
        entry.failures += retry.counts
        entry.state = retry.state
        self._metrics.retried.inc()
        self.retries += 1
        if retry.in_place or self._retries is None:
            return retry.after
        if not await self._retries.write(entry.record, _note(entry, retry)):
            return retry.after
        self._limit.finished += 1
        self._metrics.moved.inc()
        return None

    async def _bury(self, entry: Entry, dead: Dead) -> None:
        self._limit.check(asyncio.get_running_loop().time(), dead.reason)
        try:
            await self._dead_letters.write(entry.record, dead, note=entry.note)
        except Rejected as refusal:
            raise _unwritable(refusal, self._dead_letters.topic) from refusal
        self._limit.finished += 1
        self._metrics.dead.inc()
        log.warning(
            "lanes.dead_lettered", **_place(entry), reason=dead.reason.value, code=dead.code
        )

    def _tell_waiting(self, error: Busy) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_waiting_at >= _WAITING_LOG_EVERY_S:
            self._told_waiting_at = now
            log.warning("lanes.waiting", reason=str(error))


def _note(entry: Entry, retry: Retry) -> RetryNote:
    """The note for the next retry topic; the record's first place stays."""
    came, record = entry.note, entry.record
    return RetryNote(
        source=record.topic if came is None else came.source,
        partition=record.partition if came is None else came.partition,
        offset=record.offset if came is None else came.offset,
        failures=entry.failures,
        delay_ms=-(retry.after // timedelta(milliseconds=-1)),
        state=retry.state,
    )


def _place(entry: Entry) -> dict[str, object]:
    record = entry.record
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


def _unwritable(refusal: Rejected, topic: str) -> Fatal:
    """Losing the record is no choice, and neither is going on without it."""
    return Fatal(
        f"a dead letter was refused ({refusal.code}): {refusal}; make {topic} writable, "
        "the record stays unfinished until then"
    )
