"""Rounds of arms, each started anew in every round, and what is said of their figures."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from subprocess import CalledProcessError

from bench.gateway.load import LoadFailed
from bench.gateway.processes import NotStarted
from bench.lanes.ratios import ratio_of
from bench.lanes.rows import Beside

__all__ = ["OURS", "Effort", "Figures", "Rounds", "Run", "beside", "figures_of", "run_rounds"]

OURS = "penstock"

Run = Mapping[str, float]
"""Figures of one arm in one round, by name."""

Rounds = dict[str, list[Run]]
"""Runs by arm; the i-th of each belong to one round. An arm that failed is left out."""

Figures = dict[str, dict[str, dict[str, float]]]
"""By arm and figure: median, lowest and highest."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a run of the benchmark does: rounds, and seconds of each window."""

    rounds: int
    seconds: float
    is_quick: bool
    has_peers: bool = True


def run_rounds(
    arms: Mapping[str, Callable[[], Run]], *, rounds: int, what: str, notes: list[str]
) -> Rounds:
    """Every arm once per round, in an order that differs from round to round.

    An arm that cannot run is out for all rounds; `notes` then has its reason.
    """
    random = Random(7)
    results: defaultdict[str, list[Run]] = defaultdict(list)
    alive = list(arms)
    for number in range(rounds):
        for name in random.sample(alive, k=len(alive)):
            try:
                run = arms[name]()
            except (LoadFailed, NotStarted, CalledProcessError) as error:
                notes.append(f"{what}: {name} is out: {error}")
                print(f"  {notes[-1]}", file=sys.stderr, flush=True)
                alive.remove(name)
                results.pop(name, None)
                continue
            results[name].append(run)
            told = "  ".join(f"{key} {value:.4g}" for key, value in run.items())
            print(f"  {what} {number + 1}/{rounds} {name:<22} {told}", flush=True)
    return dict(results)


def figures_of(rounds: Rounds) -> Figures:
    """Everything that was measured, for the file."""
    return {
        arm: {
            name: {
                "median": median(run[name] for run in runs),
                "low": min(run[name] for run in runs),
                "high": max(run[name] for run in runs),
            }
            for name in runs[0]
        }
        for arm, runs in rounds.items()
    }


def beside(
    rounds: Rounds,
    figure: str,
    *,
    workload: str,
    unit: str,
    less_is_better: bool,
    peers: Sequence[str],
) -> list[Beside]:
    """A row per peer that has the figure; none if our own arm has not run."""
    rows = []
    for peer in peers:
        pairs = [
            (ours[figure], theirs[figure])
            for ours, theirs in zip(rounds.get(OURS, []), rounds.get(peer, []), strict=False)
            if figure in ours and figure in theirs and theirs[figure] > 0
        ]
        if not pairs:
            continue
        ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        ratio = ratio_of(ours, theirs)
        rows.append(
            Beside(
                workload=workload,
                unit=unit,
                peer=peer,
                ours=median(ours),
                theirs=median(theirs),
                ratio=ratio.middle,
                low=ratio.low,
                high=ratio.high,
                verdict=ratio.verdict(less_is_better=less_is_better),
                note=_faults(rounds[peer]) if len(pairs) > 1 else "one round: no interval",
            )
        )
    return rows


def _faults(runs: Sequence[Run]) -> str:
    failed = sum(value for run in runs for name, value in run.items() if name.startswith("failed"))
    return f"{failed:.0f} calls failed" if failed else ""
