"""Runs handlers and decides what becomes of a record afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random

import structlog
from penstock_contracts.dead import DeadReason
from penstock_contracts.topics import DEAD

from penstock_kit.errors import Busy, Fatal, Rejected, Retryable
from penstock_kit.lanes.dead_letters import DeadLetters
from penstock_kit.lanes.keys import Entry
from penstock_kit.lanes.metrics import LaneMetrics
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.window import Window

__all__ = ["Handler", "Runner"]

log = structlog.get_logger(__name__)

Handler = Callable[[Delivery], Awaitable[Outcome]]

_AGAIN_SOON = timedelta(milliseconds=100)
"""Shortest pause before another try, so that a handler that is always busy cannot spin."""

_WAITING_LOG_EVERY_S = 30.0
"""A dependency that is away makes every record wait: one line tells it as well as thousands."""


class Runner:
    """Keeps up to `max_in_flight` handlers at work, one task each.

    Nothing here cancels a handler.
    """

    def __init__(
        self,
        *,
        window: Window,
        handler: Handler,
        dead_letters: DeadLetters,
        policy: LanePolicy,
        metrics: LaneMetrics,
        on_fatal: Callable[[Fatal], None],
    ) -> None:
        self._window = window
        self._handler = handler
        self._dead_letters = dead_letters
        self._policy = policy
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._random = Random()  # noqa: S311 - jitter
        self._tasks: dict[Entry, asyncio.Task[None]] = {}
        self._timers: dict[Entry, asyncio.TimerHandle] = {}
        self._told_waiting_at = float("-inf")
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.is_open = False

    def pump(self) -> None:
        """Start what may start."""
        window = self._window
        while self.is_open and (entry := window.next()) is not None:
            self._is_idle.clear()
            self._tasks[entry] = asyncio.create_task(self._run(entry), name="lanes-handler")

    def finish_withdrawn(self, entry: Entry, outcome: Outcome) -> None:
        """End a record that `withdraw` took out."""
        self._is_idle.clear()
        self._tasks[entry] = asyncio.create_task(
            self._end_withdrawn(entry, outcome), name="lanes-withdrawn"
        )

    async def wait_idle(self) -> None:
        """Return when no handler is at work."""
        await self._is_idle.wait()

    def close(self) -> None:
        """Start nothing any more; records that wait for another try stay unfinished."""
        self.is_open = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def _run(self, entry: Entry) -> None:
        try:
            outcome = await self._handler(entry.delivery())
            if isinstance(outcome, Done):
                self._metrics.done.inc()
            else:
                await self._bury(entry, outcome)
            self._window.finish(entry)
        except Exception as error:  # noqa: BLE001 - the edge of the loop: every error has a fate
            await self._after_failure(entry, error)
        except asyncio.CancelledError:
            self._window.abandon(entry)
            raise
        finally:
            self._forget(entry)
        self.pump()

    async def _after_failure(self, entry: Entry, error: Exception) -> None:
        try:
            pause = await self._fate(entry, error)
        except Fatal as fault:
            self._die(entry, fault)
        except Rejected as refusal:
            self._die(entry, _unwritable(refusal))
        else:
            if pause is None:
                self._window.finish(entry)
            else:
                self._again_in(pause, entry)

    async def _fate(self, entry: Entry, error: Exception) -> timedelta | None:
        """The pause before the next try; None: the record is dead-lettered."""
        match error:
            case Fatal():
                raise error
            case Rejected():
                await self._bury(entry, Dead(DeadReason.POISON, error.code, str(error)))
                return None
            case Busy():
                self._metrics.busy.inc()
                self._tell_waiting(error)
                return timedelta(seconds=error.retry_after_s)
            case Retryable():
                return await self._retry(entry, error.retry_after_s, str(error))
            case _:
                self._metrics.unexpected.inc()
                log.error(
                    "lanes.handler_failed",
                    topic=entry.record.topic,
                    partition=entry.record.partition,
                    offset=entry.offset,
                    exc_info=error,
                )
                return await self._retry(entry, None, f"unexpected {type(error).__name__}")

    def _tell_waiting(self, error: Busy) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_waiting_at >= _WAITING_LOG_EVERY_S:
            self._told_waiting_at = now
            log.warning("lanes.waiting", reason=str(error))

    async def _retry(
        self, entry: Entry, retry_after_s: float | None, detail: str
    ) -> timedelta | None:
        entry.failures += 1
        if entry.failures >= self._policy.attempts:
            dead = Dead(DeadReason.FAILURE, "attempts_exhausted", detail, attempts=entry.failures)
            await self._bury(entry, dead)
            return None
        self._metrics.retried.inc()
        doubled: timedelta = self._policy.backoff * 2 ** min(entry.failures - 1, 16)
        backoff = min(doubled, self._policy.max_backoff) * self._random.uniform(0.8, 1.2)
        return max(backoff, timedelta(seconds=retry_after_s or 0))

    async def _bury(self, entry: Entry, outcome: Dead) -> None:
        await self._dead_letters.write(entry.record, outcome)
        self._metrics.dead.inc()
        log.warning(
            "lanes.dead_lettered",
            topic=entry.record.topic,
            partition=entry.record.partition,
            offset=entry.offset,
            reason=outcome.reason.value,
            code=outcome.code,
        )

    def _again_in(self, pause: timedelta, entry: Entry) -> None:
        if self._window.put_back(entry) and self.is_open:
            delay_s = max(pause, _AGAIN_SOON).total_seconds()
            loop = asyncio.get_running_loop()
            self._timers[entry] = loop.call_later(delay_s, self._try_again, entry)

    def _try_again(self, entry: Entry) -> None:
        del self._timers[entry]
        self._window.release(entry.queue)
        self.pump()

    def _die(self, entry: Entry, fault: Fatal) -> None:
        self.close()
        self._window.abandon(entry)
        self._on_fatal(fault)

    async def _end_withdrawn(self, entry: Entry, outcome: Outcome) -> None:
        try:
            if isinstance(outcome, Dead):
                await self._bury(entry, outcome)
            self._window.finish_withdrawn(entry)
        except Fatal as fault:
            self.close()
            self._on_fatal(fault)
        except Rejected as refusal:
            self.close()
            self._on_fatal(_unwritable(refusal))
        finally:
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self._tasks.pop(entry, None)
        if not self._tasks:
            self._is_idle.set()


def _unwritable(refusal: Rejected) -> Fatal:
    """Losing the record is no choice, and neither is going on without it."""
    return Fatal(
        f"a dead letter was refused ({refusal.code}): {refusal}; make {DEAD.name} writable, "
        "the record stays unfinished until then"
    )
