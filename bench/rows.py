"""Rows of a benchmark: measured, compared with a target, written and printed in one way."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["RESULTS", "Row", "machine", "percentile", "print_rows", "write_rows"]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. `low` and `high` bound `ratio` (or `ours` without a peer) over the repetitions.

    `target` reads like `<= 5`; `holds` says whether `ours` (with a peer: `ratio`) keeps it.
    """

    row: str
    unit: str
    ours: float
    target: str
    holds: bool
    peer: float | None = None
    peer_name: str | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""

    @classmethod
    def at_least(
        cls,
        row: str,
        unit: str,
        repetitions: Sequence[float],
        limit: float,
        *,
        if_missed: str = "",
    ) -> Row:
        """A figure that should reach `limit`; the median of the repetitions counts.

        `if_missed` as with `at_most`.
        """
        ours = percentile(repetitions, 50)
        return cls(
            row=row, unit=unit, ours=ours, target=f">= {limit:g}", holds=ours >= limit,
            low=min(repetitions),
            high=max(repetitions),
            note="" if ours >= limit else if_missed,
        )  # fmt: skip

    @classmethod
    def at_most(
        cls,
        row: str,
        unit: str,
        repetitions: Sequence[float],
        limit: float,
        *,
        if_missed: str = "",
    ) -> Row:
        """A figure that should not exceed `limit`; the median of the repetitions counts.

        `if_missed` is the known reason, shown where the figure falls short.
        """
        ours = percentile(repetitions, 50)
        return cls(
            row=row, unit=unit, ours=ours, target=f"<= {limit:g}", holds=ours <= limit,
            low=min(repetitions),
            high=max(repetitions),
            note="" if ours <= limit else if_missed,
        )  # fmt: skip


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of a non-empty sequence."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def write_rows(name: str, rows: Sequence[Row]) -> Path:
    """Write `results/<name>.json` with a description of the machine; the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def print_rows(rows: Sequence[Row]) -> None:
    """A table: figure, target, verdict."""
    width = max(len(row.row) for row in rows)
    for row in rows:
        verdict = "holds" if row.holds else "MISSED"
        peer = f"  ({row.ratio:.2f} x {row.peer_name})" if row.ratio is not None else ""
        spread = f"[{row.low:.4g} .. {row.high:.4g}]" if row.low is not None else ""
        print(
            f"{row.row:<{width}}  {row.ours:>9.4g} {row.unit:<10} {row.target:>9}  {verdict:<6} "
            f"{spread}{peer}  {row.note}".rstrip()
        )
