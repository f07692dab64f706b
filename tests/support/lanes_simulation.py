"""The worker core under seeded chaos on a virtual clock: one process, its group, its operators.

    python -m tests.support.lanes_simulation --seeds 2000 [--first 0]

Real: window, scheduler, tenants, rules, handover, runner, fates, tracker, commits. Played: the
poll thread and the broker. Whatever a seed finds can be run again with `--first SEED --seeds 1`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import structlog
from penstock_contracts.dead import DeadReason
from penstock_contracts.topics import DEAD
from penstock_kit.errors import Busy, Fatal, Rejected, Retryable
from penstock_kit.kafka.ports import Ack, OutRecord, Record, TopicPartition
from penstock_kit.lanes.backoff import Backoff
from penstock_kit.lanes.commits import Commits
from penstock_kit.lanes.dead_letters import DeadLetters
from penstock_kit.lanes.fates import Fates
from penstock_kit.lanes.keys import Partition
from penstock_kit.lanes.metrics import LaneMetrics
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy, Order
from penstock_kit.lanes.rules import Verdict
from penstock_kit.lanes.runner import Runner
from penstock_kit.lanes.scheduler import level_of
from penstock_kit.lanes.window import Window
from penstock_kit.telemetry.metrics import Metrics

from tests.support.simulated_kafka import Broken, SimulatedLog
from tests.support.virtual_loop import LoopClock, VirtualLoop, run_virtually

__all__ = ["Simulation", "simulate"]

_EVENTS = 200
_TENANTS = ("a", "b", "c")
_PLACES = tuple(
    TopicPartition(topic, number) for topic in ("t.high", "t", "t.low") for number in (0, 1)
)
_END_S = 3600.0
"""Virtual time within which everything must be done once the chaos is over."""


class Rulings:
    """Rules by hand; every one has a name that is never used again."""

    def __init__(self) -> None:
        self.by_tenant: dict[str, Verdict] = {}
        self.changed_at = -1.0
        self.callbacks: list[Callable[[], None]] = []

    def verdict(self, record: Record) -> Verdict | None:
        return self.by_tenant.get(_tenant(record))

    def on_change(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def change(self, tenant: str, verdict: Verdict | None, now: float) -> None:
        if verdict is None:
            self.by_tenant.pop(tenant, None)
        else:
            self.by_tenant[tenant] = verdict
        self.changed_at = now
        for callback in self.callbacks:
            callback()


class Simulation:
    """One seed: chaos, then calm until all is finished and committed."""

    def __init__(self, seed: int, metrics: LaneMetrics) -> None:
        self.random = Random(seed)
        self.loop = VirtualLoop()
        clock = LoopClock(self.loop)
        self.policy = self._policy()
        self.log = SimulatedLog(self.random)
        self.rules = Rulings()
        self.window = Window(self.policy, clock, tenant_of=_tenant, rules=self.rules)
        self.runner = Runner(
            window=self.window,
            handler=self.handle,
            fates=Fates(
                dead_letters=DeadLetters(self, clock=clock, by="sim"),  # type: ignore[arg-type] # only `send` is used
                retries=None,
                policy=self.policy,
                metrics=metrics,
                name="sim",
            ),
            on_fatal=self._die,
        )
        self.rules.on_change(self._on_rules)
        self.owned: dict[tuple[str, int], Partition] = {}
        self.commits = Commits(
            self.log,  # type: ignore[arg-type] # only commits are used
            self.owned,
            policy=self.policy,
            clock=clock,
            name="sim",
        )
        self.positions: dict[TopicPartition, int] = {}
        self.epoch = self.named = 0
        self.running: dict[tuple[TopicPartition, bytes | int], int] = {}
        self.tenants: Counter[str] = Counter()
        self.under: Counter[str] = Counter()
        self.broken: Broken | None = None

    def _policy(self) -> LanePolicy:
        pick = self.random
        return LanePolicy(
            max_in_flight=pick.randint(1, 12),
            tenant_in_flight=pick.choice([None, 1, 3]),
            span_cap=pick.randint(1, 15),
            queue_per_partition=pick.randint(1, 15),
            order=pick.choice([Order.BY_KEY, Order.BY_KEY, Order.NONE]),
            attempts=pick.randint(1, 4),
            backoff=Backoff(base=timedelta(milliseconds=50), cap=timedelta(seconds=1)),
            aging=timedelta(seconds=pick.choice([0.5, 10])),
            commit_interval=timedelta(milliseconds=pick.choice([5, 200])),
            dead_per_minute=1_000_000,
        )

    def run(self) -> None:
        """Raises what is broken."""
        run_virtually(self._main(), self.loop)

    async def _main(self) -> None:
        for place in _PLACES:
            self.log.add_partition(place)
        self.runner.is_open = True
        actions: list[tuple[int, Callable[[], Any]]] = [
            (30, self._produce),
            (30, self._fetch),
            (20, self._settle),
            (10, self.log.answer_commits),
            (8, self._assign),
            (4, self._revoke),
            (2, self._lose),
            (4, self._rule),
            (2, self._withdraw),
            (2, self._pause),
            (2, self._refuse),
            (20, self._rest),
        ]
        weights, calls = zip(*actions, strict=True)
        for _ in range(_EVENTS):
            [call] = self.random.choices(calls, weights)
            answer = call()
            if answer is not None:
                await answer
            await asyncio.sleep(0)
            self._check()
        await self._calm_down()

    async def _calm_down(self) -> None:
        """No more chaos: everything that was written must be finished and committed."""
        self.log.refuse = False
        self.runner.is_open = True
        for tenant in _TENANTS:
            self.rules.change(tenant, None, self.loop.time())
        ends = {place: len(records) for place, records in self.log.records.items() if records}
        limit = self.loop.time() + _END_S
        while self.log.committed_offsets != ends:
            self._assign(everything=True)
            self._fetch()
            self._settle()
            self.log.answer_commits()
            await asyncio.sleep(0.05)
            self._check()
            if self.loop.time() > limit:
                raise Broken(
                    f"not done: {self.log.committed_offsets} of {ends}; {self.window.ruled=}"
                )
        await self.runner.wait_idle()
        if self.window.queued or self.window.running or self.window.ruled:
            raise Broken("all is committed and something still waits")

    def _produce(self) -> None:
        place = self.random.choice(_PLACES)
        for _ in range(self.random.randint(1, 4)):
            key = b"%d" % self.random.randint(0, 5)
            self.log.append(place, key, _TENANTS[int(key) % 3])

    def _fetch(self) -> None:
        batch = []
        for partition in self.owned.values():
            position = self.positions[partition.place]
            room = self.policy.queue_per_partition - partition.depth
            is_full = partition.tracker.beyond_gap > self.policy.span_cap
            records = self.log.records[partition.place][position : position + max(room, 0)]
            if records and not is_full:
                partition.handed += len(records)
                partition.end_offset = len(self.log.records[partition.place])
                self.positions[partition.place] += len(records)
                batch.append((partition, records))
        if batch:
            self.window.accept(batch)
            self.runner.pump()

    def _settle(self) -> None:
        moved = self.commits.settle(self.loop.time())
        if moved:
            self.window.open_gate(moved)
            self.runner.pump()

    def _assign(self, *, everything: bool = False) -> None:
        free = [place for place in _PLACES if place not in self.owned]
        if not everything and free:
            free = self.random.sample(free, self.random.randint(1, len(free)))
        self.epoch += 1
        for place in free:
            committed = self.log.committed_offsets.get(place, -1)
            self.positions[place] = max(committed, 0)
            self.owned[place] = Partition(
                place,
                epoch=self.epoch,
                committed=committed,
                level=level_of(place.topic),
                suspect_span=self.policy.suspect_span,
                finished_before=self.log.note(place),
            )
            self.window.add([self.owned[place]])

    async def _revoke(self) -> None:
        """As the poll thread does: drop, wait for handlers up to a deadline, commit, let go."""
        leaving = self._some()
        idle = asyncio.Event()
        self.window.revoke(leaving, idle.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(idle.wait(), self.random.choice([0.01, 1.0]))
        self.commits.flush()
        self._let_go(leaving)

    def _lose(self) -> None:
        leaving = self._some()
        self.window.revoke(leaving, lambda: None)
        self.log.forget_sent([partition.place for partition in leaving])
        self._let_go(leaving)

    def _some(self) -> list[Partition]:
        return [partition for partition in self.owned.values() if self.random.random() < 0.5]

    def _let_go(self, leaving: list[Partition]) -> None:
        for partition in leaving:
            del self.owned[partition.place]
        self.log.forget_sent([partition.place for partition in leaving])
        self.runner.pump()

    def _rule(self) -> None:
        self.named += 1
        name = f"rule-{self.named}"
        verdicts = (
            None,
            None,
            Verdict(held_by=name),
            Verdict(dropped_by=name),
            Verdict(limits=((name, self.random.randint(0, 2)),)),
            Verdict(limits=((name, 1), (f"{name}-also", 2)), is_demoted=True),
            Verdict(is_demoted=True),
        )
        self.rules.change(
            self.random.choice(_TENANTS), self.random.choice(verdicts), self.loop.time()
        )

    def _on_rules(self) -> None:
        self.runner.judge_again()

    def _pause(self) -> None:
        """As the lanes do: nothing starts, handlers go on, until it is called again."""
        self.runner.is_open = not self.runner.is_open
        self.runner.pump()

    def _withdraw(self) -> None:
        """A cancelled job: its record is ended without a handler."""
        key = b"%d" % self.random.randint(0, 5)
        chosen = [entry for entry in self.window.waiting if entry.record.key == key]
        for entry in self.runner.withdraw(chosen):
            self.log.finished[entry.record.place].add(entry.offset)
            self.runner.finish_withdrawn(entry, Done())

    def _refuse(self) -> None:
        self.log.refuse = not self.log.refuse

    async def _rest(self) -> None:
        await asyncio.sleep(self.random.choice([0.001, 0.05, 0.5]))

    async def handle(self, delivery: Delivery) -> Outcome:
        """Check that the record may run, then work for a while and end somehow."""
        record, now = delivery.record, self.loop.time()
        order_key = self._begin(delivery, now)
        tenant = _tenant(record)
        rules = self._counting(tenant)
        self.tenants[tenant] += 1
        self.under.update(rules)
        self._check_caps(tenant, rules)
        try:
            await asyncio.sleep(self.random.choice([0, 0.001, 0.02, 0.3, 2.0]))
            return self._outcome(record)
        finally:
            self.running.pop(order_key, None)
            self.tenants[tenant] -= 1
            self.under.subtract(rules)

    def _begin(self, delivery: Delivery, now: float) -> tuple[TopicPartition, bytes | int]:
        record = delivery.record
        by_key = self.policy.order is Order.BY_KEY
        order_key = (record.place, record.key if by_key and record.key else record.offset)
        if order_key in self.running:
            self._broken(f"{order_key} runs twice: {self.running[order_key]} and {record.offset}")
        self.running[order_key] = record.offset
        finished = self.log.finished[record.place]
        earlier = [
            other.offset
            for other in self.log.records[record.place][: record.offset]
            if by_key and other.key == record.key and other.offset not in finished
        ]
        if earlier:
            self._broken(f"{record.offset} of {order_key} starts before {earlier}")
        first = self.log.committed_offsets.get(record.place, 0)
        if record.offset >= first + self.policy.suspect_span:
            self._broken(f"{record.offset} starts and a successor would not suspect it: {first=}")
        verdict = self.rules.verdict(record)
        if verdict is not None and verdict.held_by is not None and now > self.rules.changed_at:
            self._broken(f"{record.offset} starts though {verdict.held_by} holds it")
        return order_key

    def _counting(self, tenant: str) -> tuple[str, ...]:
        verdict = self.rules.by_tenant.get(tenant)
        if verdict is None or self.loop.time() <= self.rules.changed_at:
            return ()
        return tuple(name for name, _ in verdict.limits)

    def _check_caps(self, tenant: str, rules: tuple[str, ...]) -> None:
        if self.window.running > self.policy.max_in_flight:
            self._broken(f"{self.window.running} in flight")
        cap = self.policy.tenant_in_flight
        if cap is not None and self.tenants[tenant] > cap:
            self._broken(f"tenant {tenant} has {self.tenants[tenant]} in flight")
        verdict = self.rules.by_tenant.get(tenant)
        for name, most in verdict.limits if verdict is not None and rules else ():
            if self.under[name] > most:
                self._broken(f"{self.under[name]} in flight under {name} of {most}")

    def _outcome(self, record: Record) -> Outcome:
        chance = self.random.random()
        if chance < 0.08:
            raise Retryable("away")
        if chance < 0.12:
            raise Busy("full", retry_after_s=0.2)
        if chance < 0.15:
            raise Rejected("wrong", code="wrong")
        if chance < 0.17:
            return Dead(DeadReason.FAILURE, "gave_up", "x")
        self.log.finished[record.place].add(record.offset)
        return Done()

    async def send(self, record: OutRecord) -> Ack:
        """The producer of dead letters: acknowledged a little later."""
        await asyncio.sleep(self.random.choice([0, 0.01]))
        named = dict(record.headers)
        place = TopicPartition(
            named["penstock_dead_topic"].decode(), int(named["penstock_dead_partition"])
        )
        self.log.finished[place].add(int(named["penstock_dead_offset"]))
        return Ack(DEAD.name, 0, 0)

    def _die(self, error: Fatal) -> None:
        self._broken(f"fatal: {error}")

    def _broken(self, sentence: str) -> None:
        """Told to the driver: what a handler raises would only be tried again."""
        self.broken = self.broken or Broken(sentence)

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken


def simulate(first: int, count: int) -> None:
    """Run seeds; stop at the first that breaks a promise, and name it.

    Raises:
        Broken: what does not hold, and the seed.
    """
    metrics = LaneMetrics(Metrics(), "sim", _no_stats)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False
    )
    try:
        for seed in range(first, first + count):
            simulation = Simulation(seed, metrics)
            try:
                simulation.run()
            except Exception as error:
                raise Broken(f"seed {seed}: {type(error).__name__}: {error}") from error
    finally:
        structlog.reset_defaults()


def _no_stats() -> Any:
    raise AssertionError("nobody scrapes a simulation")


def _tenant(record: Record) -> str:
    return (record.value or b"").decode()


def main() -> int:
    """Run the seeds of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    started = time.perf_counter()
    try:
        simulate(arguments.first, arguments.seeds)
    except Broken as broken:
        print(f"BROKEN {broken}", file=sys.stderr)  # noqa: T201 - a program's answer
        raise
    print(f"{arguments.seeds} seeds kept in {time.perf_counter() - started:.1f} s")  # noqa: T201 - the same
    return 0


if __name__ == "__main__":
    sys.exit(main())
