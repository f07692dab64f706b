"""What a run found out: written after every row, so that a run cut half-way leaves what it has."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.gateway.rounds import Figures
from bench.lanes.rows import Beside
from bench.rows import RESULTS, Row, machine

__all__ = ["Part", "Table", "box"]


@dataclass(frozen=True, slots=True)
class Part:
    """One row of the benchmark: targets, peers, and every figure of every arm behind them."""

    targets: list[Row]
    peers: list[Beside] = field(default_factory=list)
    figures: Figures = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """The parts of a run, by name, in `bench/results/<name>.json`."""

    path: Path
    how: Mapping[str, Any]
    began: float = field(default_factory=time.time)
    parts: dict[str, Part] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def called(cls, name: str, *, how: Mapping[str, Any]) -> Table:
        """An empty one; rows that an earlier run left in the file are replaced one by one."""
        RESULTS.mkdir(exist_ok=True)
        return cls(RESULTS / f"{name}.json", how)

    def add(self, name: str, part: Part, *, took_s: float) -> None:
        """Take a part in, print it, and write everything so far."""
        self.parts[name] = part
        self.took_s[name] = round(took_s, 1)
        _show(part)
        self._write()

    def _write(self) -> None:
        content = {
            "machine": box(),
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began)),
            "how": dict(self.how),
            "rows": {
                name: {"took_s": self.took_s[name], **asdict(part)}
                for name, part in self.parts.items()
            },
        }
        scratch = self.path.with_suffix(".new")
        scratch.write_text(json.dumps(content, indent=2) + "\n")
        scratch.replace(self.path)


def box() -> dict[str, object]:
    """The machine, and how busy it was with other things."""
    return {
        **machine(),
        "cpu": _first("/proc/cpuinfo", "model name"),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _first(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""


def _show(part: Part) -> None:
    for row in part.targets:
        verdict = "holds" if row.holds else "MISSED"
        print(
            f"{row.row:<66} {row.ours:>9.4g} {row.unit:<6} {row.target:>10}  {verdict}  {row.note}"
        )
    for one in part.peers:
        print(
            f"  {one.workload:<56} {one.peer:<20} ours {one.ours:>8.4g} theirs {one.theirs:>8.4g} "
            f"{one.unit:<5} ratio {one.ratio:>6.3f} [{one.low:.3f} .. {one.high:.3f}] "
            f"{one.verdict:<5} {one.note}"
        )
    for note in part.notes:
        print(f"  {note}")
    print(flush=True)
