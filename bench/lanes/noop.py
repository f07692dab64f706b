"""Work that takes no time: what order, concurrency and at least once cost per message."""

from __future__ import annotations

from pathlib import Path

from bench.lanes.filling import fill_topic
from bench.lanes.peers import Order
from bench.lanes.rounds import run_rounds
from bench.lanes.rows import OURS, Table, beside
from bench.rows import Row

__all__ = ["measure"]

_COUNT = 60_000
_PEERS = (
    "parallel-consumer-1000",
    "faust",
    "faststream-aiokafka",
    "faststream-confluent",
    "quixstreams",
    "aiokafka-getmany",
    "confluent-raw",
)


def measure(bootstrap: str, folder: Path, *, rounds: int) -> Table:
    """CPU of the whole process per message."""
    order = Order(
        bootstrap=bootstrap,
        topic=fill_topic(bootstrap, count=_COUNT, keys=1000),
        group="noop",
        count=_COUNT,
        out=folder / "out.bin",
    )
    results = run_rounds((OURS, *_PEERS), order, rounds=rounds, folder=folder, what="no-op")
    ours = results[OURS]
    return Table(
        [
            Row.at_most("no-op work: CPU per message", "us", [r.cpu_us for r in ours], 30),
            Row.at_most("no-op work: order breaks", "", [float(r.breaks) for r in ours], 0),
        ],
        beside("no-op: CPU per message", "us", results, lambda r: r.cpu_us, less_is_better=True),
    )
