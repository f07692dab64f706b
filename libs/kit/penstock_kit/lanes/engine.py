"""Lanes: order per key, many keys at once, contiguous commits. The asyncio side and its verbs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import structlog
from penstock_contracts.topics import DEAD

from penstock_kit.clock import Clock, SystemClock
from penstock_kit.errors import Fatal, Retryable
from penstock_kit.kafka.ports import Consumer, Producer, Record
from penstock_kit.lanes.adapting import Adapting
from penstock_kit.lanes.dead_letters import DeadLetters
from penstock_kit.lanes.fates import Fates
from penstock_kit.lanes.health import LaneHealth
from penstock_kit.lanes.keys import Entry, Partition
from penstock_kit.lanes.loop_watch import LoopWatch
from penstock_kit.lanes.metrics import LaneMetrics
from penstock_kit.lanes.outcomes import Dead, Delivery, Done
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.poller import Poller
from penstock_kit.lanes.retry_pump import RetryPump
from penstock_kit.lanes.retry_topics import RetryTopics
from penstock_kit.lanes.rules import Rules
from penstock_kit.lanes.runner import Handler, Runner
from penstock_kit.lanes.stats import LaneStats, take_stats
from penstock_kit.lanes.window import TenantOf, Window
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.telemetry.redaction import Redactor

__all__ = ["DrainCut", "Handler", "Lanes"]

log = structlog.get_logger(__name__)

_WATCH_S: Final = 1.0
_LOOKED_AT: Final = 16
"""Waiting records that are compared between two looks at the clock: each takes a microsecond, or a
tenth of a millisecond if its envelope has to be read."""
_LOOK_S: Final = 0.001
_MOST_LOOKED_AT: Final = 256
"""After so long, or so many, others have the loop."""


class DrainCut(Retryable):
    """Raised by `stop` when handlers outlive the drain deadline.

    Their records are delivered again.
    """


class Lanes:
    """A Part that runs a handler over the topics of one consumer group.

    The handler's verdict decides what becomes of a record: `Done`, `Dead` or `Retry`, or one of the
    error families: `Rejected` is dead-lettered as poison; `Retryable` is tried again up to the
    policy's attempts, then dead-lettered as a failure; `Busy` makes its key wait and counts
    nothing; `Fatal` stops the process. Any other error counts as `Retryable`.

    Args:
        consumer: owned by the lanes from now on.
        producer: writes dead letters and retries; started and stopped by its owner, who stops it
            after the lanes.
        handler: runs once per record and task; never cancelled by the lanes.
        topics: suffixes `.high` and `.low` are priorities.
        retries: where records wait for another try while their key goes on; None: all of them wait
            in place.
        is_called_back: whether a record of a retry topic need not wait: its handler only ends it.
        on_fatal: told once, on the loop, when the process must stop.
        name: of the service, in logs, metrics and dead letters.
        tenant_of: whose record it is, for turns and caps; None: all are one tenant's.
        dead_topic: where records go that can never be handled.
        rules: what operators say of records that wait.
        is_wanted: whether a record needs the handler at all; the others are passed over. Asked of
            every record that is read, so it must be quick. None: all do.
        may_park: whether a record needs no order with others of its key: it may move to a retry
            topic when a rule holds it and others need its room. None: none may.
        redactor: takes secrets out of dead letters; None: what looks like one.
    """

    def __init__(
        self,
        *,
        consumer: Consumer,
        producer: Producer,
        handler: Handler,
        topics: Sequence[str],
        policy: LanePolicy | None = None,
        clock: Clock | None = None,
        on_fatal: Callable[[Fatal], None],
        name: str,
        dead_topic: str = DEAD.name,
        retries: RetryTopics | None = None,
        is_called_back: Callable[[Record], bool] | None = None,
        metrics: Metrics | None = None,
        tenant_of: TenantOf | None = None,
        rules: Rules | None = None,
        may_park: Callable[[Record], bool] | None = None,
        is_wanted: Callable[[Record], bool] | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._policy = policy or LanePolicy()
        self._clock = clock or SystemClock()
        self._on_fatal = on_fatal
        self._name = name
        self._window = Window(
            self._policy,
            self._clock,
            tenant_of=tenant_of,
            rules=rules,
            may_park=may_park if retries is not None else None,
            is_wanted=is_wanted,
        )
        if rules is not None:
            rules.on_change(lambda: self._runner.judge_again())  # noqa: PLW0108 - it is made later
        self._pump = (
            None
            if retries is None
            else RetryPump(
                topics=retries,
                sources=topics,
                window=self._window,
                producer=producer,
                clock=self._clock,
                is_called_back=is_called_back,
                on_due=lambda: self._runner.pump(),  # noqa: PLW0108 - it is made later
            )
        )
        self._fates = Fates(
            dead_letters=DeadLetters(
                producer, clock=self._clock, by=name, redactor=redactor, topic=dead_topic
            ),
            retries=None if self._pump is None else self._pump.retries,
            policy=self._policy,
            metrics=LaneMetrics(metrics or Metrics(), name, self._read_stats, topics=topics),
            name=name,
        )
        self._runner = Runner(
            window=self._window,
            handler=handler,
            fates=self._fates,
            adapting=Adapting(self._window, self._clock) if self._policy.adaptive else None,
            on_fatal=self._fail,
        )
        self._poller = Poller(
            consumer=consumer,
            topics=topics,
            retry_topics=() if retries is None else retries.names,
            policy=self._policy,
            clock=self._clock,
            events=self,
            name=name,
            loop_watch=LoopWatch(self._policy, name),
        )
        self._window.may_start = self._poller.may_start
        self._health = LaneHealth(self._poller, policy=self._policy, clock=self._clock, name=name)
        self._watchdog: asyncio.Task[None] | None = None
        self._withdrawn: dict[tuple[str, int, int], Entry] = {}
        self._fault: Fatal | None = None
        self._is_started = self._is_stopped = self._is_paused = False

    async def start(self) -> None:
        """Join the group and begin; returns after the first poll, before any partition is ours."""
        self._is_started = True
        self._runner.is_open = True
        await self._poller.start()
        self._watchdog = asyncio.create_task(self._watch(), name=f"{self._name}-watchdog")

    async def stop(self, drain_timeout: timedelta | None = None) -> None:
        """Fetch and start nothing more, let running handlers finish, commit, leave the group.

        Raises:
            DrainCut: handlers are still at work after `drain_timeout` (default: the policy's), or
                after the policy's `drain_unheard` where no broker would take what they write.
        """
        if not self._is_started or self._is_stopped:
            return
        self._is_stopped = True
        self._runner.close()
        self._poller.hold()
        timeout = self._policy.drain_timeout if drain_timeout is None else drain_timeout
        if self._health.is_unheard:
            timeout = min(timeout, self._policy.drain_unheard)
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self._runner.wait_idle()
        except TimeoutError:
            raise DrainCut(
                f"{self._window.running} handlers of {self._name!r} outlived the drain; their "
                "records are delivered again, raise the drain time-out if that happens often"
            ) from None
        finally:
            await self._poller.stop()
            if self._pump is not None:
                await self._pump.stop()
            if self._watchdog is not None:
                self._watchdog.cancel()
                await asyncio.wait({self._watchdog})

    def pause(self) -> None:
        """Start and fetch nothing until `resume`; running handlers go on, membership stays."""
        self._is_paused = True
        self._runner.is_open = False
        self._poller.hold()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._is_paused and not self._is_stopped and self._fault is None:
            self._is_paused = False
            self._runner.is_open = True
            self._poller.let_go()
            self._runner.pump()

    async def withdraw(self, match: Callable[[Record], bool]) -> list[Delivery]:
        """Take waiting records out, also those that wait for another try, here or in a retry topic.

        The caller ends each with `finish`; until then it holds its partition's offset back. `match`
        sees every record that waits, a few at a time, while the loop goes on.
        """
        chosen = await self._matching(match)
        entries = self._runner.withdraw(chosen)
        if self._pump is not None:
            entries += self._pump.withdraw(set(chosen))
        self._withdrawn.update({_identity(entry.record): entry for entry in entries})
        return [entry.delivery() for entry in entries]

    def finish(self, delivery: Delivery, outcome: Done | Dead) -> None:
        """End a withdrawn record; a second call, and one after a revocation, do nothing."""
        entry = self._withdrawn.get(_identity(delivery.record))
        if entry is not None and entry.queue.partition.epoch == delivery.epoch:
            del self._withdrawn[_identity(delivery.record)]
            self._runner.finish_withdrawn(entry, outcome)

    @property
    def stats(self) -> LaneStats:
        """What is going on right now."""
        return self._read_stats()

    def problem(self) -> str | None:
        """Why the lanes are not ready, as a sentence; None while they are. A readiness check."""
        if self._fault is not None:
            return str(self._fault)
        if not self._is_started:
            return "the lanes have not started"
        return self._health.unready()

    def on_added(self, partitions: Sequence[Partition]) -> None:
        """The poll thread got partitions."""
        self._window.add(partitions)
        if self._pump is not None:
            self._pump.add(partitions)

    def on_records(self, batch: Sequence[tuple[Partition, list[Record]]]) -> None:
        """The poll thread read records; after a fault no offset may pass what was not taken in."""
        if self._fault is not None:
            return
        self._window.accept([share for share in batch if not share[0].is_retry])
        for partition, records in batch:
            if partition.is_retry:
                assert self._pump is not None, "without retry topics there are no such partitions"
                self._pump.accept(partition, records)
        self._runner.pump()

    def on_revoked(self, partitions: Sequence[Partition], when_idle: Callable[[], None]) -> None:
        """The poll thread must give partitions up."""
        gone = set(partitions)
        self._withdrawn = {
            place: entry
            for place, entry in self._withdrawn.items()
            if entry.queue.partition not in gone
        }
        self._window.revoke(partitions, when_idle)
        if self._pump is not None:
            self._pump.drop_lost()

    def on_committed(self, partitions: Sequence[Partition]) -> None:
        """Commits were acknowledged."""
        self._window.open_gate(partitions)
        self._runner.pump()

    async def _matching(self, match: Callable[[Record], bool]) -> list[Entry]:
        """What matches of all that waits now; some of it may run or be finished meanwhile."""
        waiting = self._window.waiting
        if self._pump is not None:
            waiting += self._pump.waiting
        matching: list[Entry] = []
        clock = asyncio.get_running_loop().time
        until = clock() + _LOOK_S
        for count, entry in enumerate(waiting, 1):
            if not entry.is_finished and match(entry.record):
                matching.append(entry)
            if not count % _LOOKED_AT and (not count % _MOST_LOOKED_AT or clock() > until):
                await asyncio.sleep(0)
                until = clock() + _LOOK_S
        return matching

    def on_failed(self, error: Fatal) -> None:
        """The poll thread ended, or what it told could not be taken in."""
        self._fail(error)

    def _fail(self, error: Fatal) -> None:
        if self._fault is not None:
            return
        self._fault = error
        self._runner.close()
        self._poller.hold()
        log.critical("lanes.failed", lanes=self._name, error=str(error))
        self._on_fatal(error)

    async def _watch(self) -> None:
        """No progress means that the group will expel us, or that the client hangs."""
        while self._fault is None:
            await asyncio.sleep(_WATCH_S)
            if self._window.relieve():
                self._runner.pump()
            if (sentence := self._health.beyond_repair()) is not None:
                self._fail(Fatal(sentence))

    def _read_stats(self) -> LaneStats:
        return take_stats(
            self._window,
            self._clock,
            held=0 if self._pump is None else self._pump.held,
            resting=self._runner.resting,
            retries=self._fates.retries,
            paused=self._poller.paused,
            silence_s=self._clock.monotonic() - self._poller.progress_at,
        )


def _identity(record: Record) -> tuple[str, int, int]:
    return (record.topic, record.partition, record.offset)
