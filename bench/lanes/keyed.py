"""I/O-bound work of 100 ms, ordered by key: how close to what order allows, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.lanes.filling import fill_topic
from bench.lanes.peers import Order
from bench.lanes.result import Result
from bench.lanes.rounds import Rounds, run_rounds
from bench.lanes.rows import OURS, Table, beside
from bench.rows import Row

__all__ = ["measure"]

_WORK_S = 0.1
_CONCURRENCY = 1000
_PEERS = (
    "parallel-consumer-1000",
    "faust",
    "faststream-aiokafka",
    "faststream-confluent",
    "aiokafka-gather",
)


def measure(bootstrap: str, folder: Path, *, rounds: int) -> Table:
    """20,000 messages, a burst of 4,000, and 2,000 on few keys."""
    table = Table([], [])
    long = _workload(bootstrap, folder, count=20_000, keys=1000, rounds=rounds, peers=_PEERS)
    table.extend(_rows("20,000 messages, 1,000 keys x 100 ms", long, keys=1000, at_least=90))
    table.targets += _costs(long[OURS])
    burst = _workload(
        bootstrap,
        folder,
        count=4000,
        keys=1000,
        rounds=rounds,
        peers=(*_PEERS, "parallel-consumer-100"),
    )
    table.extend(_rows("4,000 messages, 1,000 keys x 100 ms", burst, keys=1000, at_least=80))
    table.targets += _against_default(burst)
    few = _workload(bootstrap, folder, count=2000, keys=50, rounds=min(rounds, 3), peers=_PEERS[:1])
    table.extend(_rows("2,000 messages, 50 keys x 100 ms", few, keys=50, at_least=95))
    return table


def _workload(
    bootstrap: str, folder: Path, *, count: int, keys: int, rounds: int, peers: Sequence[str]
) -> Rounds:
    order = Order(
        bootstrap=bootstrap,
        topic=fill_topic(bootstrap, count=count, keys=keys),
        group="keyed",
        count=count,
        out=folder / "out.bin",
        work_s=_WORK_S,
        concurrency=_CONCURRENCY,
    )
    what = f"{count} x {keys} keys"
    return run_rounds((OURS, *peers), order, rounds=rounds, folder=folder, what=what)


def _rows(workload: str, rounds: Rounds, *, keys: int, at_least: float) -> Table:
    bound = min(_CONCURRENCY, keys) / _WORK_S

    def share(result: Result) -> float:
        return 100 * result.rate / bound

    ours = rounds[OURS]
    targets = [
        Row.at_least(f"{workload}: share of the bound", "%", [share(r) for r in ours], at_least),
        Row.at_most(f"{workload}: order breaks", "", [float(r.breaks) for r in ours], 0),
    ]
    peers = beside(f"{workload}: throughput", "msg/s", rounds, _rate, less_is_better=False)
    peers += beside(f"{workload}: CPU per message", "us", rounds, _cpu, less_is_better=True)
    return Table(targets, peers)


def _costs(ours: Sequence[Result]) -> list[Row]:
    return [
        Row.at_most("keyed work: CPU per message", "ms", [r.cpu_us / 1000 for r in ours], 0.10),
        Row.at_most("keyed work: peak memory", "MB", [r.peak_rss_mb for r in ours], 100),
    ]


def _against_default(rounds: Rounds) -> list[Row]:
    """Against the parallel consumer as it comes, with 100 threads."""
    theirs = rounds.get("parallel-consumer-100")
    if not theirs:
        return []
    default = median(r.rate for r in theirs)
    times = [r.rate / default for r in rounds[OURS]]
    return [Row.at_least("times the parallel consumer at its default 100 threads", "x", times, 9)]


def _rate(result: Result) -> float:
    return result.rate


def _cpu(result: Result) -> float:
    return result.cpu_us
