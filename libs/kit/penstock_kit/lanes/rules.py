"""What operators may say of records that wait, while the process runs: a port, and its effect."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.keys import Entry, KeyQueue, Partition
from penstock_kit.lanes.outcomes import Retry
from penstock_kit.lanes.scheduler import LOWEST, Scheduler

__all__ = ["Held", "NoRules", "Rules", "Verdict"]

_PARKED: Final = "held_by_rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What holds for one record now; of several, drop comes before hold, hold before the rest.

    Attributes:
        dropped_by: the rule that ends it: its handler gets it with `Delivery.dropped_by`.
        held_by: the rule that keeps it waiting; its key waits, other keys go on.
        limits: rules with the most records that may be in flight under each in this process.
        is_demoted: it runs with the low ones, whatever its topic.
    """

    dropped_by: str | None = None
    held_by: str | None = None
    limits: tuple[tuple[str, int], ...] = ()
    is_demoted: bool = False


class Rules(Protocol):
    """Judges records at the moment when they would start. On the event loop, quick, without I/O."""

    def verdict(self, record: Record) -> Verdict | None:
        """What holds for the record; None if no rule is about it."""
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back when a rule came, went or expired: held records are judged again then."""
        ...


class NoRules:
    """Everything runs."""

    def verdict(self, record: Record) -> Verdict | None:  # noqa: ARG002 - the port's
        """Nothing is said of any record."""
        return None

    def on_change(self, callback: Callable[[], None]) -> None:
        """Nothing changes."""


class Held:
    """Keys whose first record may not start by a rule, and how many run under each limit."""

    def __init__(self, rules: Rules, scheduler: Scheduler, *, parked_for: timedelta) -> None:
        self._rules = rules
        self._parked_for = parked_for
        self._scheduler = scheduler
        self._paused: list[KeyQueue] = []
        self._limited: dict[str, deque[KeyQueue]] = {}
        self._running: dict[str, int] = {}

    def lets_start(self, entry: Entry) -> bool:
        """Whether the first record of a key may start; if not, the key is kept here."""
        entry.dropped_by = None
        # A record that only moves on runs no handler: rules say nothing of it.
        verdict = self._rules.verdict(entry.record) if entry.verdict is None else None
        if verdict is None:
            return True
        if verdict.dropped_by is not None:
            entry.dropped_by = verdict.dropped_by
            return True
        queue = entry.queue
        if verdict.held_by is not None:
            self._paused.append(queue)
            return False
        if (full := self._full(verdict)) is not None:
            self._limited.setdefault(full, deque()).append(queue)
            self._pass_on(verdict, full)
            return False
        if verdict.is_demoted and queue.level != LOWEST:
            entry.level = LOWEST
            self._scheduler.move(queue)
            return False
        entry.counted = tuple(rule for rule, _ in verdict.limits)
        for rule in entry.counted:
            self._running[rule] = self._running.get(rule, 0) + 1
        return True

    def is_dropped(self, entry: Entry) -> bool:
        """Whether a rule wants the record ended, as of now."""
        verdict = self._rules.verdict(entry.record) if entry.verdict is None else None
        return verdict is not None and verdict.dropped_by is not None

    def ended(self, entry: Entry) -> None:
        """A record's handler ended: who waits for its place under a limit is judged again."""
        for rule in entry.counted:
            self._running[rule] -= 1
            if not self._running[rule]:
                del self._running[rule]
            self._wake_one(rule)
        entry.counted = ()

    def judge_again(self) -> None:
        """Let every key that is kept here have its turn under the rules of now."""
        kept, self._paused = self._paused, []
        for waiting in self._limited.values():
            kept.extend(waiting)
        self._limited = {}
        kept.extend(self._scheduler.take_demoted())
        for queue in kept:
            if queue.partition.is_ours:
                if queue.entries:
                    queue.entries[0].level = queue.home
                self._scheduler.offer(queue, queue.since)

    @property
    def paused(self) -> list[KeyQueue]:
        """Keys that a pause holds, those held longest first."""
        return self._paused

    def park(self, partition: Partition, may_park: Callable[[Record], bool]) -> None:
        """Send what is kept here of a partition, and needs no order, to wait in a retry topic."""

        def leaves(queue: KeyQueue) -> bool:
            if queue.partition is not partition or not queue.entries:
                return False
            return may_park(queue.entries[0].record)

        leaving = [queue for queue in self._paused if leaves(queue)]
        for waiting in self._limited.values():
            leaving += [queue for queue in waiting if leaves(queue)]
        gone = set(leaving)
        self._paused = [queue for queue in self._paused if queue not in gone]
        for rule, waiting in self._limited.items():
            self._limited[rule] = deque(queue for queue in waiting if queue not in gone)
        for queue in leaving:
            first = queue.entries[0]
            first.verdict = Retry(
                after=self._parked_for,
                code=_PARKED,
                detail="a rule holds the record, and others need its room",
                counts=False,
                state=first.state,
            )
            self._scheduler.offer(queue, queue.since)

    @staticmethod
    def unpark(entry: Entry) -> None:
        """The retry topic did not take it: it waits here, and is judged again."""
        if isinstance(entry.verdict, Retry) and entry.verdict.code == _PARKED:
            entry.verdict = None

    @property
    def count(self) -> int:
        """Records behind a pause or a limit, with those of the same keys behind them."""
        limited = sum(len(queue.entries) for queues in self._limited.values() for queue in queues)
        return limited + sum(len(queue.entries) for queue in self._paused)

    def _full(self, verdict: Verdict) -> str | None:
        return next(
            (rule for rule, most in verdict.limits if self._running.get(rule, 0) >= most), None
        )

    def _pass_on(self, verdict: Verdict, full: str) -> None:
        """The place that was free under another of its limits is for somebody else."""
        for rule, most in verdict.limits:
            if rule != full and self._running.get(rule, 0) < most:
                self._wake_one(rule)

    def _wake_one(self, rule: str) -> None:
        waiting = self._limited.get(rule)
        while waiting:
            queue = waiting.popleft()
            if queue.partition.is_ours:
                self._scheduler.offer(queue, queue.since)
                if queue.entries:
                    break
        if not waiting:
            self._limited.pop(rule, None)
