"""kill -9 half-way: what is lost, what is done twice, where does order break?"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from bench.lanes.filling import fill_topic
from bench.lanes.peers import Order
from bench.lanes.result import Event, count_breaks, read_journal, repeats
from bench.lanes.rows import Beside, Table
from bench.lanes.running import started_arm
from bench.rows import Row

__all__ = ["measure"]

_COUNT = 12_000
_KEYS = 1000
_ARMS = ("lanes", "parallel-consumer-1000", "faust", "faststream-aiokafka", "aiokafka-gather")
_PATIENCE_S = 75.0
"""Longer than any session time-out: the dead member's partitions are free only then."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    lost: int
    repeated: int
    in_flight: int
    breaks: int


def measure(bootstrap: str, folder: Path) -> Table:
    """One kill each."""
    topic = fill_topic(bootstrap, count=_COUNT, keys=_KEYS)
    outcomes = {}
    for name in _ARMS:
        outcome = outcomes[name] = _kill_half_way(bootstrap, topic, folder, name)
        print(
            f"  crash: {name:<24} lost {outcome.lost} repeated {outcome.repeated} "
            f"in flight {outcome.in_flight} breaks {outcome.breaks}",
            flush=True,
        )
    ours = outcomes["lanes"]
    title = "kill -9 half-way of 12,000"
    return Table(
        [
            Row.at_most(f"{title}: lost", "", [float(ours.lost)], 0),
            Row.at_most(
                f"{title}: done twice (in flight {ours.in_flight})",
                "",
                [float(ours.repeated)],
                ours.in_flight,
            ),
            Row.at_most(f"{title}: order breaks", "", [float(ours.breaks)], 0),
        ],
        [
            Beside(
                workload=f"{title}: done twice", unit="", peer=peer, ours=ours.repeated,
                theirs=theirs.repeated, ratio=(ours.repeated + 1) / (theirs.repeated + 1),
                low=0, high=0, verdict="wins" if ours.repeated < theirs.repeated else "loses",
                note=f"theirs lost {theirs.lost}, broke order {theirs.breaks} times",
            )
            for peer, theirs in outcomes.items()
            if peer != "lanes"
        ],
    )  # fmt: skip


def _kill_half_way(bootstrap: str, topic: str, folder: Path, name: str) -> _Outcome:
    first, second = (folder / f"{name}-{uuid4().hex[:6]}.journal" for _ in range(2))
    order = Order(
        bootstrap=bootstrap,
        topic=topic,
        group=f"crash-{uuid4().hex[:8]}",
        count=10**9,
        out=folder / f"{name}.bin",
        work_s=0.1,
        journal=first,
    )
    with started_arm(name, order) as process:
        _wait_until_ended(first, set(), _COUNT // 2)
        process.kill()
    before = read_journal(first)
    done = _ends(before)
    in_flight = sum(kind == 1 for _, kind, _, _ in before) - sum(
        kind == 0 for _, kind, _, _ in before
    )
    with started_arm(name, replace(order, journal=second)):
        _wait_until_ended(second, done, _COUNT)
        time.sleep(1)  # repetitions that are still on their way
    events = before + read_journal(second)
    return _Outcome(
        lost=_COUNT - len(_ends(events)),
        repeated=repeats(events),
        in_flight=in_flight,
        breaks=count_breaks(events),
    )


def _ends(events: list[Event]) -> set[tuple[int, int]]:
    return {(key, place) for _, kind, key, place in events if kind == 0}


def _wait_until_ended(journal: Path, done: set[tuple[int, int]], count: int) -> None:
    """Until so many different messages have ended, or nothing has moved for a while."""
    seen, moved_at = -1, time.monotonic()
    while True:
        events = read_journal(journal)
        if len(done | _ends(events)) >= count:
            return
        if len(events) != seen:
            seen, moved_at = len(events), time.monotonic()
        elif time.monotonic() - moved_at > _PATIENCE_S:
            return
        time.sleep(0.02)
