"""10,000 messages of 1 KiB waiting and 1,000 at work: how much memory does the process hold?"""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import psutil

from bench.lanes.filling import fill_topic
from bench.lanes.peers import Order
from bench.lanes.result import read_journal
from bench.lanes.rows import Table
from bench.lanes.running import started_arm
from bench.rows import Row

__all__ = ["measure"]

_IN_FLIGHT = 1000
_PATIENCE_S = 30


def measure(bootstrap: str, folder: Path) -> Table:
    """Work that never ends, on more messages than may wait."""
    journal = folder / f"memory-{uuid4().hex[:6]}.journal"
    order = Order(
        bootstrap=bootstrap,
        topic=fill_topic(bootstrap, count=20_000, keys=20_000),
        group=f"memory-{uuid4().hex[:8]}",
        count=10**9,
        out=folder / "memory.bin",
        work_s=3600,
        journal=journal,
        concurrency=_IN_FLIGHT,
    )
    with started_arm("lanes", order) as process:
        deadline = time.monotonic() + _PATIENCE_S
        while len(read_journal(journal)) < _IN_FLIGHT and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(5)  # the window fills behind them
        rss_mb = psutil.Process(process.pid).memory_info().rss / 1e6
    return Table(
        [Row.at_most("10,000 queued and 1,000 in flight: memory", "MB", [rss_mb], 150)], []
    )
