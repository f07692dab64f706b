"""Resident memory of each idle service."""

from __future__ import annotations

import psutil

from bench.rows import Row
from bench.stack import Stack

LIMITS_MB = {"gateway": 120, "llm-worker": 120, "notifier": 120, "recorder": 120, "embedder": 350}
MB = 1_000_000


def measure(stack: Stack) -> list[Row]:
    """A row per service, in megabytes."""
    return [
        Row.at_most(f"idle memory of {name}", "MB", [_resident_mb(stack.pid(name))], limit)
        for name, limit in LIMITS_MB.items()
    ]


def _resident_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / MB
