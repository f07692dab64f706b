"""Runs arms in turns, in random order within each round, and keeps what every round gave."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from bench.lanes.peers import Order
from bench.lanes.result import Result
from bench.lanes.running import ArmFailed, run_arm

__all__ = ["Rounds", "run_rounds"]

Rounds = dict[str, list[Result]]
"""Results by arm; the i-th of each belong to one round. An arm that failed is left out."""


def run_rounds(
    arms: Sequence[str], order: Order, *, rounds: int, folder: Path, what: str
) -> Rounds:
    """Warm up once, then `rounds` rounds."""
    random = Random(7)
    results: defaultdict[str, list[Result]] = defaultdict(list)
    alive = list(arms)
    for number in range(rounds + 1):
        for name in random.sample(alive, k=len(alive)):
            out = folder / f"{name}.bin"
            try:
                result = run_arm(name, replace(order, out=out))
            except ArmFailed as error:
                print(f"  {what}: {name} is out: {error}", file=sys.stderr, flush=True)
                alive.remove(name)
                results.pop(name, None)
                continue
            if number:
                results[name].append(result)
                print(
                    f"  {what} {number}/{rounds} {name:<24} {result.rate:>8.0f}/s "
                    f"{result.cpu_us:>7.1f} us CPU  {result.peak_rss_mb:>5.0f} MB  "
                    f"breaks {result.breaks}",
                    flush=True,
                )
    return dict(results)
