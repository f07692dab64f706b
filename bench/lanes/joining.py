"""A second worker joins and leaves under load: what do partitions notice that never move?"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from threading import Thread
from uuid import uuid4

from bench.lanes.filling import make_topic, paced
from bench.lanes.peers import Order
from bench.lanes.result import Event, count_breaks, read_journal, repeats
from bench.lanes.rows import Beside, Table
from bench.lanes.running import end_arm, started_arm
from bench.rows import Row

__all__ = ["measure"]

_RATE = 500
_BEFORE_S = 4
_JOINED_S = 14
_AFTER_S = 6
_PATIENCE_S = 60
_ARMS = ("lanes", "aiokafka-gather")


@dataclass(frozen=True, slots=True)
class _Outcome:
    pause_ms: float
    repeated: int
    lost: int
    breaks: int


def measure(bootstrap: str, folder: Path) -> Table:
    """500 messages per second of 10 ms work; longest wait beyond the usual on what stays."""
    outcomes = {}
    for name in _ARMS:
        outcome = outcomes[name] = _join_and_leave(bootstrap, folder, name)
        print(
            f"  joining: {name:<24} pause {outcome.pause_ms:.0f} ms, repeated {outcome.repeated}, "
            f"lost {outcome.lost}, breaks {outcome.breaks}",
            flush=True,
        )
    ours, theirs = outcomes["lanes"], outcomes["aiokafka-gather"]
    ratio = ours.pause_ms / theirs.pause_ms
    title = "a second worker joins: pause of untouched partitions"
    return Table(
        [
            Row.at_most(f"{title}, share of aiokafka's", "x", [ratio], 0.1),
            Row.at_most("clean leave: done twice", "", [float(ours.repeated)], 0),
            Row.at_most("join and leave: lost", "", [float(ours.lost)], 0),
            Row.at_most("join and leave: order breaks", "", [float(ours.breaks)], 0),
        ],
        [
            Beside(
                workload=title, unit="ms", peer="aiokafka-gather", ours=ours.pause_ms,
                theirs=theirs.pause_ms, ratio=ratio, low=ratio, high=ratio,
                verdict="wins" if ratio < 1 else "loses", note="one run each",
            )
        ],
    )  # fmt: skip


def _join_and_leave(bootstrap: str, folder: Path, name: str) -> _Outcome:
    first, second = (folder / f"{name}-{uuid4().hex[:6]}.journal" for _ in range(2))
    order = Order(
        bootstrap=bootstrap,
        topic=make_topic(bootstrap),
        group=f"joining-{uuid4().hex[:8]}",
        count=10**9,
        out=folder / f"{name}-1.bin",
        work_s=0.01,
        journal=first,
    )
    sent: dict[tuple[int, int], tuple[int, int]] = {}

    def produce() -> None:
        count = _RATE * (_BEFORE_S + _JOINED_S + _AFTER_S)
        sent.update(
            paced(bootstrap, order.topic, rate=_RATE, count=count, key_of=lambda n: n % 1000)
        )

    with started_arm(name, order):
        paced(bootstrap, order.topic, rate=50, count=50, key_of=lambda n: 1000 + n)
        _wait_for_ends([first], 50)
        load = Thread(target=produce)
        load.start()
        go = folder / f"{second.stem}.go"
        with started_arm(
            name, replace(order, out=folder / f"{name}-2.bin", journal=second, go=go)
        ) as joining:
            time.sleep(_BEFORE_S)  # it has imported everything: its start costs the first nothing
            joined_at = time.monotonic_ns()
            go.touch()
            time.sleep(_JOINED_S)
            left_at = time.monotonic_ns()
            end_arm(joining)
        load.join()
        _wait_for_ends([first, second], 50 + len(sent))
        time.sleep(0.5)  # repetitions that are still on their way
    mine, others = read_journal(first), read_journal(second)
    events = mine + others
    done = {(key, place) for _, kind, key, place in events if kind == 0}
    return _Outcome(
        pause_ms=_longest_wait_ms(mine, others, sent, joined_at, left_at),
        repeated=repeats(events),
        lost=len(sent.keys() - done),
        breaks=count_breaks(events),
    )


def _longest_wait_ms(
    mine: list[Event],
    others: list[Event],
    sent: dict[tuple[int, int], tuple[int, int]],
    joined_at: int,
    left_at: int,
) -> float:
    moved = {sent[key, place][1] for _, _, key, place in others if (key, place) in sent}
    begun = {(key, place): at for at, kind, key, place in reversed(mine) if kind == 1}
    waits = [
        begun[which] - at
        for which, (at, partition) in sent.items()
        if partition not in moved and joined_at <= at <= left_at and which in begun
    ]
    assert waits, "no partition stayed where it was"
    return (max(waits) - median(waits)) / 1e6


def _wait_for_ends(journals: list[Path], count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        events = [event for journal in journals for event in read_journal(journal)]
        if len({(key, place) for _, kind, key, place in events if kind == 0}) >= count:
            return
        time.sleep(0.1)
