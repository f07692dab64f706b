"""One event to 1,000 sockets, 20 a second, 300 bytes: deliveries per processor second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.gateway.broadcasters import BROADCASTERS, Broadcaster
from bench.gateway.load import LoadFailed, run_load
from bench.gateway.rounds import OURS, Effort, Run, beside, figures_of, run_rounds
from bench.gateway.table import Part
from bench.rows import Row, percentile

__all__ = ["measure", "socket_order"]

_SOCKETS = 1000
_PER_S = 20
_LEAST = 80_000
_PEERS = tuple(name for name in BROADCASTERS if name != OURS)


def measure(effort: Effort) -> Part:
    """Every side alone, all its sockets in one client process."""
    notes: list[str] = []
    arms = list(BROADCASTERS) if effort.has_peers else [OURS]
    with TemporaryDirectory(prefix="penstock-bench-") as name:
        rounds = run_rounds(
            {arm: partial(_run, arm, Path(name), effort) for arm in arms},
            rounds=effort.rounds,
            what="fan-out",
            notes=notes,
        )
    title = f"1 event to {_SOCKETS:,} sockets, {_PER_S}/s, 300 bytes"
    peers = [
        row
        for figure, what, unit, less in (
            ("per_cpu_s", "deliveries per processor second", "1/s", False),
            ("p99_ms", "p99", "ms", True),
        )
        for row in beside(
            rounds, figure, workload=f"{title}: {what}", unit=unit, less_is_better=less,
            peers=_PEERS,
        )
    ]  # fmt: skip
    return Part(_targets(rounds.get(OURS, []), title), peers, figures_of(rounds), notes)


def socket_order(side: Broadcaster, *, sockets: int) -> dict[str, Any]:
    """The order of a client of so many sockets, without its times."""
    return {
        "url": side.url,
        "headers": dict(side.headers),
        "protocol": side.protocol,
        "first": side.first,
        "ready": side.ready,
        "sockets": sockets,
    }


def _run(arm: str, folder: Path, effort: Effort) -> Run:
    with TemporaryDirectory(dir=folder) as scratch, BROADCASTERS[arm](Path(scratch)) as side:
        order = socket_order(side, sockets=_SOCKETS)
        with _publishing(side) as publish:
            loaded = run_load(
                "sockets",
                {**order, "warm_up_s": 2, "seconds": effort.seconds},
                trees={**side.own, **side.stores},
                on_ready=publish,
            )
    result: Mapping[str, Any] = loaded.result
    if result["opened"] < _SOCKETS or not result["deliveries"]:
        raise LoadFailed(f"{result['opened']} sockets opened, {result['deliveries']} deliveries")
    own_s = sum(loaded.usage.spent_s[name] for name in side.own)
    stores_s = sum(loaded.usage.spent_s[name] for name in side.stores)
    return {
        "per_cpu_s": result["deliveries"] / max(own_s, 0.01),
        "deliveries": result["deliveries"],
        "per_s": result["deliveries"] / result["window_s"],
        "p50_ms": percentile(result["ms"], 50),
        "p99_ms": percentile(result["ms"], 99),
        "bytes": result["bytes"] / result["deliveries"],
        "lost": result["lost"] + result["opened"] - result["held"],
        "store_share": stores_s / max(own_s, 0.01),
        "busy": loaded.usage.busy,
        "stolen": loaded.usage.stolen,
    }


@contextmanager
def _publishing(side: Broadcaster) -> Iterator[Callable[[], None]]:
    """What begins to hand an event in every 50 ms; it ends with the block."""
    over = threading.Event()

    def publish() -> None:
        begun = time.monotonic()
        number = 0
        while not over.wait(max(0.0, begun + number / _PER_S - time.monotonic())):
            side.publish(number)
            number += 1

    thread = threading.Thread(target=publish, name="publish")
    try:
        yield thread.start
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()


def _targets(ours: Sequence[Run], title: str) -> list[Row]:
    if not ours:
        return []
    why = (
        f"{median(run['per_s'] for run in ours):.0f} deliveries/s of "
        f"{median(run['bytes'] for run in ours):.0f} bytes; the machine was "
        f"{100 * median(run['busy'] for run in ours):.0f} % busy"
    )
    return [
        Row.at_least(
            f"{title}: deliveries per processor second of the notifier", "1/s",
            [run["per_cpu_s"] for run in ours], _LEAST, if_missed=why,
        ),
        Row.at_most(
            f"{title}: events or sockets lost", "", [float(run["lost"]) for run in ours], 0
        ),
    ]  # fmt: skip
