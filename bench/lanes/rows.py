"""Rows of the lanes benchmark: a figure of ours beside its target, and beside each peer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.lanes.ratios import ratio_of
from bench.lanes.result import Result
from bench.lanes.rounds import Rounds
from bench.rows import RESULTS, Row, machine

__all__ = ["Beside", "Table", "beside"]

OURS = "lanes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Ours beside one peer in one workload: medians, the ratio with its interval, who wins."""

    workload: str
    unit: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    verdict: str
    note: str = ""


@dataclass(slots=True)
class Table:
    """Everything that a run of the benchmark found out."""

    targets: list[Row]
    peers: list[Beside]

    def extend(self, other: Table) -> None:
        """Take another part in."""
        self.targets.extend(other.targets)
        self.peers.extend(other.peers)

    def show(self) -> None:
        """Print both lists."""
        for row in self.targets:
            verdict = "holds" if row.holds else "MISSED"
            print(f"{row.row:<66} {row.ours:>9.4g} {row.unit:<6} {row.target:>9}  {verdict}")
        print()
        for one in self.peers:
            print(
                f"{one.workload:<44} {one.peer:<24} ours {one.ours:>8.4g} "
                f"theirs {one.theirs:>8.4g} {one.unit:<6} ratio {one.ratio:>6.3f} "
                f"[{one.low:.3f} .. {one.high:.3f}] {one.verdict:<5} {one.note}"
            )

    def write(self, name: str) -> None:
        """Write `bench/results/<name>.json`."""
        RESULTS.mkdir(exist_ok=True)
        content = {
            "machine": machine(),
            "targets": [asdict(row) for row in self.targets],
            "peers": [asdict(row) for row in self.peers],
        }
        (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def beside(
    workload: str,
    unit: str,
    rounds: Rounds,
    figure: Callable[[Result], float],
    *,
    less_is_better: bool,
) -> list[Beside]:
    """A row per peer."""
    ours = [figure(result) for result in rounds[OURS]]
    rows = []
    for peer, results in rounds.items():
        if peer == OURS:
            continue
        theirs = [figure(result) for result in results]
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
                note=_note(results),
            )
        )
    return rows


def _note(results: Sequence[Result]) -> str:
    breaks = median(result.breaks for result in results)
    return f"breaks order {breaks:.0f} times" if breaks else ""
