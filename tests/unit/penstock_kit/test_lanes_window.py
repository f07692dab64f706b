"""Tenants, rules and returning partitions inside one window, without threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from penstock_kit.kafka.ports import Record, TopicPartition
from penstock_kit.lanes.keys import Entry, Partition
from penstock_kit.lanes.policy import LanePolicy, Order
from penstock_kit.lanes.rules import Verdict
from penstock_kit.lanes.scheduler import level_of
from penstock_kit.lanes.window import Window

from tests.support.clock import HandClock


class Words:
    """Rules by hand: a function per moment."""

    def __init__(self) -> None:
        self.judge: Callable[[Record], Verdict | None] = lambda _: None

    def verdict(self, record: Record) -> Verdict | None:
        return self.judge(record)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Tests call `judge_again` themselves."""


class Rig:
    """A window with records `<tenant>-<number>`, each its own key unless told otherwise."""

    def __init__(self, policy: LanePolicy | None = None) -> None:
        self.clock = HandClock()
        self.rules = Words()
        self.window = Window(
            policy or LanePolicy(), self.clock, tenant_of=tenant_of, rules=self.rules
        )
        self.epoch = 0

    def assign(self, topic: str = "t", committed: int = 0) -> Partition:
        self.epoch += 1
        partition = Partition(
            TopicPartition(topic, 0),
            epoch=self.epoch,
            committed=committed,
            level=level_of(topic),
            suspect_span=10_500,
        )
        self.window.add([partition])
        return partition

    def give(self, partition: Partition, *values: str, key: bytes | None = None) -> None:
        first = max(partition.tracker.end, 0)
        records = [
            Record(*partition.place, first + n, key, value.encode())
            for n, value in enumerate(values)
        ]
        partition.handed += len(records)
        self.window.accept([(partition, records)])

    def start(self, most: int = 10_000) -> list[Entry]:
        started: list[Entry] = []
        while len(started) < most and (entry := self.window.next()) is not None:
            started.append(entry)
        return started

    def one_by_one(self, count: int, seconds: dict[str, float] | None = None) -> list[str]:
        """Run records one after another, each as long as its tenant's take."""
        tenants = []
        for _ in range(count):
            entry = self.window.next()
            assert entry is not None
            tenant = str(tenant_of(entry.record))
            tenants.append(tenant)
            self.clock.advance(timedelta(seconds=(seconds or {}).get(tenant, 1.0)))
            self.window.finish(entry)
        return tenants


def tenant_of(record: Record) -> str | None:
    return (record.value or b"").decode().partition("-")[0]


def values(entries: Sequence[Entry]) -> list[str]:
    return [(entry.record.value or b"").decode() for entry in entries]


def numbered(tenant: str, count: int) -> list[str]:
    return [f"{tenant}-{n}" for n in range(count)]


def test_next_when_one_tenant_came_first_with_much_then_others_take_turns() -> None:
    rig = Rig()
    rig.give(rig.assign(), *numbered("big", 500), *numbered("b", 20), *numbered("c", 20))

    assert Counter(rig.one_by_one(60)) == {"big": 20, "b": 20, "c": 20}


def test_next_when_records_of_one_tenant_take_longer_then_seconds_are_shared() -> None:
    rig = Rig()
    rig.give(rig.assign(), *numbered("slow", 500), *numbered("fast", 500))
    seconds = {"slow": 4.0, "fast": 1.0}
    rig.one_by_one(40, seconds)

    turns = Counter(rig.one_by_one(400, seconds))

    share = turns["slow"] * 4 / (turns["slow"] * 4 + turns["fast"])
    assert 0.4 < share < 0.6


def test_next_when_levels_and_tenants_then_weights_hold_and_tenants_share_each_level() -> None:
    rig = Rig(LanePolicy(aging=timedelta(hours=1)))
    for topic in ("t.high", "t", "t.low"):
        rig.give(rig.assign(topic), *numbered("a", 300), *numbered("b", 300))

    ran: Counter[tuple[str, str | None]] = Counter()
    for _ in range(200):
        [entry] = rig.start(1)
        ran[entry.record.topic, tenant_of(entry.record)] += 1
        rig.window.finish(entry)

    assert ran == {
        ("t.high", "a"): 60,
        ("t.high", "b"): 60,
        ("t", "a"): 30,
        ("t", "b"): 30,
        ("t.low", "a"): 10,
        ("t.low", "b"): 10,
    }


def test_next_when_tenant_is_at_its_cap_then_others_go_on_until_it_has_room() -> None:
    rig = Rig(LanePolicy(tenant_in_flight=3))
    rig.give(rig.assign(), *numbered("a", 10), *numbered("b", 2))

    started = rig.start()
    assert Counter(map(tenant_of, (e.record for e in started))) == {"a": 3, "b": 2}

    rig.window.finish(started[values(started).index("a-0")])
    assert values(rig.start()) == ["a-3"]


def test_next_when_max_in_flight_reached_then_nothing() -> None:
    rig = Rig(LanePolicy(max_in_flight=4))
    rig.give(rig.assign(), *numbered("a", 10))

    assert len(rig.start()) == 4


def test_order_none_when_records_share_a_key_then_all_run_at_once() -> None:
    rig = Rig(LanePolicy(order=Order.NONE))
    rig.give(rig.assign(), *numbered("a", 10), key=b"same")

    assert len(rig.start()) == 10


def test_handover_when_partition_returns_then_key_waits_for_the_old_handler() -> None:
    rig = Rig()
    old = rig.assign()
    rig.give(old, "a-0", "a-1", key=b"k")
    [running] = rig.start()
    told: list[str] = []
    rig.window.revoke([old], lambda: told.append("idle"))

    back = rig.assign()
    rig.give(back, "a-0", "a-1", "a-2", key=b"k")
    rig.give(back, "b-0", key=b"other")
    assert values(rig.start()) == ["b-0"]

    rig.window.finish(running)
    assert told == ["idle"]
    assert values(rig.start()) == ["a-1"], "the old handler has done the first already"
    assert back.tracker.position == 1


def test_handover_when_old_handler_fails_then_the_record_runs_again() -> None:
    rig = Rig()
    old = rig.assign()
    rig.give(old, "a-0", key=b"k")
    [running] = rig.start()
    rig.window.revoke([old], lambda: None)
    rig.give(rig.assign(), "a-0", key=b"k")

    assert not rig.window.put_back(running)

    assert values(rig.start()) == ["a-0"]


def test_handover_when_partition_leaves_and_returns_twice_then_still_one_at_a_time() -> None:
    rig = Rig()
    first = rig.assign()
    rig.give(first, "a-0", "a-1", key=b"k")
    [running] = rig.start()
    rig.window.revoke([first], lambda: None)
    second = rig.assign()
    rig.give(second, "a-0", "a-1", key=b"k")
    rig.window.revoke([second], lambda: None)
    third = rig.assign()
    rig.give(third, "a-0", "a-1", key=b"k")
    assert rig.start() == []

    rig.window.finish(running)

    assert values(rig.start()) == ["a-1"]
    assert second.tracker.position == 0, "what left is not counted any more"


def test_rules_when_tenant_is_held_then_others_run_and_release_is_at_once() -> None:
    rig = Rig()
    rig.rules.judge = held("a")
    rig.give(rig.assign(), *numbered("a", 3), *numbered("b", 2))
    assert values(rig.start()) == ["b-0", "b-1"]
    assert rig.window.ruled == 3

    rig.rules.judge = lambda _: None
    rig.window.judge_again()

    assert values(rig.start()) == ["a-0", "a-1", "a-2"]
    assert rig.window.ruled == 0


def test_rules_when_dropped_then_the_handler_is_told_by_which() -> None:
    rig = Rig()
    rig.rules.judge = lambda _: Verdict(dropped_by="stop-it")
    rig.give(rig.assign(), "a-0")

    [entry] = rig.start()

    assert entry.delivery().dropped_by == "stop-it"


def test_rules_when_limited_then_so_many_run_and_the_next_follows_an_end() -> None:
    rig = Rig()
    rig.rules.judge = lambda record: (
        Verdict(limits=(("two", 2),)) if tenant_of(record) == "a" else None
    )
    rig.give(rig.assign(), *numbered("a", 4), *numbered("b", 1))
    started = rig.start()
    assert sorted(values(started)) == ["a-0", "a-1", "b-0"]

    rig.window.finish(started[0])

    assert values(rig.start()) == ["a-2"]


def test_rules_when_one_of_two_limits_is_full_then_the_other_goes_to_somebody_else() -> None:
    rig = Rig()
    both, one = Verdict(limits=(("x", 1), ("y", 1))), Verdict(limits=(("x", 1),))
    only_y = Verdict(limits=(("y", 1),))
    of = {"x": one, "both": both, "y": only_y}
    rig.rules.judge = lambda record: of[str(tenant_of(record))]
    rig.give(rig.assign(), "x-0", "y-0", "both-0", "x-1")
    x, _ = rig.start()

    rig.window.finish(x)

    assert values(rig.start()) == ["x-1"], "`both` waits for y and must not keep x idle"


def test_rules_when_demoted_then_low_turns_and_back_when_the_rule_goes() -> None:
    rig = Rig(LanePolicy(aging=timedelta(hours=1)))
    rig.rules.judge = lambda record: Verdict(is_demoted=True) if tenant_of(record) == "a" else None
    rig.give(rig.assign(), *numbered("a", 100))
    rig.give(rig.assign("t.x"), *numbered("b", 100))
    assert Counter(rig.one_by_one(44)) == {"b": 33, "a": 11}

    rig.rules.judge = lambda _: None
    rig.window.judge_again()

    assert Counter(rig.one_by_one(40)) == {"a": 20, "b": 20}


@pytest.mark.parametrize("by", ["held", "limited"])
def test_rules_when_held_partition_leaves_then_nothing_of_it_runs(by: str) -> None:
    rig = Rig()
    verdict = Verdict(held_by="p") if by == "held" else Verdict(limits=(("p", 0),))
    rig.rules.judge = lambda _: verdict
    partition = rig.assign()
    rig.give(partition, *numbered("a", 3))
    assert rig.start() == []

    rig.window.revoke([partition], lambda: None)
    rig.rules.judge = lambda _: None
    rig.window.judge_again()

    assert rig.start() == []
    assert rig.window.ruled == 0


def held(tenant: str) -> Callable[[Record], Verdict | None]:
    return lambda record: Verdict(held_by="pause") if tenant_of(record) == tenant else None
