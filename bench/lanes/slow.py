"""One message in a hundred takes 5 s: what do the keys without slow messages notice?

Open loop: latency counts from the moment a message was meant to be sent.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from uuid import uuid4

from bench.lanes.filling import make_topic, paced
from bench.lanes.peers import Order
from bench.lanes.result import read_journal
from bench.lanes.rows import Beside, Table
from bench.lanes.running import started_arm
from bench.rows import Row, percentile

__all__ = ["measure"]

_RATE = 2000
_SECONDS = 12
_KEYS = 1000
_SLOW_KEYS = 200
"""Slow messages are on these, a twentieth of theirs; so 1 % of all."""
_WARM_UP = _RATE * 2
_ARMS = ("lanes", "parallel-consumer-1000", "faust", "faststream-aiokafka")
_PATIENCE_S = 60


def measure(bootstrap: str, folder: Path) -> Table:
    """p99 of the other keys, with slow messages and without."""
    grew: dict[str, float] = {}
    for name in _ARMS:
        calm = _p99_ms(bootstrap, folder, name, with_slow=False)
        rough = _p99_ms(bootstrap, folder, name, with_slow=True)
        if calm is None or rough is None:
            print(f"  slow: {name} did not finish", file=sys.stderr, flush=True)
            continue
        grew[name] = rough / calm
        print(f"  slow: {name:<24} p99 {calm:.0f} ms -> {rough:.0f} ms", flush=True)
    ours = grew["lanes"]
    title = "1 % take 5 s: p99 of the other keys, with / without"
    return Table(
        [Row.at_most(title, "x", [ours], 1.2)],
        [
            Beside(
                workload=title, unit="x", peer=peer, ours=ours, theirs=theirs, ratio=ours / theirs,
                low=ours / theirs, high=ours / theirs, verdict="wins" if ours < theirs else "loses",
                note="one run each",
            )
            for peer, theirs in grew.items()
            if peer != "lanes"
        ],
    )  # fmt: skip


def _p99_ms(bootstrap: str, folder: Path, name: str, *, with_slow: bool) -> float | None:
    count = _RATE * _SECONDS
    journal = folder / f"{name}-{uuid4().hex[:6]}.journal"
    order = Order(
        bootstrap=bootstrap,
        topic=make_topic(bootstrap),
        group=f"slow-{uuid4().hex[:8]}",
        count=10**9,
        out=folder / f"{name}.bin",
        work_s=0.1,
        slow_s=5,
        journal=journal,
    )

    def is_slow(n: int) -> bool:
        key = n % _KEYS
        return with_slow and key < _SLOW_KEYS and (n // _KEYS + key) % 20 == 0

    with started_arm(name, order):
        paced(bootstrap, order.topic, rate=50, count=50, key_of=lambda n: _KEYS + n)
        _wait_for(journal, 50)
        sent = paced(
            bootstrap, order.topic, rate=_RATE, count=count, key_of=lambda n: n % _KEYS,
            is_slow=is_slow,
        )  # fmt: skip
        if not _wait_for(journal, 50 + count):
            return None
    ended = {(key, place): at for at, kind, key, place in read_journal(journal) if kind == 0}
    delays = [
        (ended[which] - at) / 1e6
        for which, (at, _) in sent.items()
        if which[0] >= _SLOW_KEYS and which[1] >= _WARM_UP // _KEYS
    ]
    return percentile(delays, 99)


def _wait_for(journal: Path, ends: int) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if journal.exists() and journal.stat().st_size >= 17 * 2 * ends:
            return True
        time.sleep(0.05)
    return False
