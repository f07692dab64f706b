"""Runs every switch in its scenario, and every scenario without one: who is caught by what?"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.promises.chaos import Chaos, run_chaos
from tests.promises.checker.judge import judge, write_verdicts
from tests.promises.checker.verdict import Verdict
from tests.promises.sabotage.scenarios import SCENARIOS, SMALL
from tests.promises.sabotage.switches import SWITCHES
from tests.promises.tracks import own_processes

__all__ = ["Row", "matrix_lines", "run_matrix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A switch (or None: the product as it is) and the promises that were reported broken."""

    scenario: str
    switch: str | None
    broken: tuple[str, ...]
    expected: tuple[str, ...]
    why: str

    @property
    def is_right(self) -> bool:
        """A switch is caught by what it breaks; the product itself is not accused of anything."""
        if self.switch is None:
            return not self.broken
        return bool(set(self.broken) & set(self.expected))


def run_matrix(
    folder: Path,
    names: Sequence[str] | None = None,
    *,
    at_once: int = 4,
    known: Mapping[str, Sequence[Verdict]] = {},
) -> list[Row]:
    """All rows; scenarios without a switch belong to it, for the checker must not cry wolf.

    Args:
        folder: for the evidence.
        names: only these switches.
        at_once: a run waits more than it works, so some go side by side, the longest first.
        known: verdicts of scenarios that have been run without a switch already.
    """
    wanted = [SWITCHES[name] for name in names or SWITCHES]
    scenarios = dict.fromkeys(switch.scenario for switch in wanted)
    asked: list[tuple[str, str | None]] = [(name, None) for name in scenarios if name not in known]
    asked += [(switch.scenario, switch.name) for switch in wanted]
    asked.sort(key=lambda row: -SCENARIOS[row[0]].about_s)
    rows = [_row_of(name, None, verdicts) for name, verdicts in known.items() if name in scenarios]
    with own_processes(at_once) as pool:
        running = [pool.submit(_row, folder, scenario, switch) for scenario, switch in asked]
        for future in as_completed(running):
            rows.append(future.result())
            print(_line(rows[-1]), flush=True)
    order: list[tuple[str, str | None]] = [(name, None) for name in scenarios]
    order += [(switch.scenario, switch.name) for switch in wanted]
    return sorted(rows, key=lambda row: order.index((row.scenario, row.switch)))


def _row(folder: Path, scenario: str, switch: str | None) -> Row:
    verdicts = _run(folder / f"{scenario}-{switch or 'as-it-is'}", scenario, switch)
    return _row_of(scenario, switch, verdicts)


def _row_of(scenario: str, switch: str | None, verdicts: Sequence[Verdict]) -> Row:
    expected = SWITCHES[switch].breaks if switch is not None else ()
    broken = [verdict for verdict in verdicts if verdict.is_kept is False]
    shown = next((v for v in broken if v.promise in expected), broken[0] if broken else None)
    return Row(
        scenario=scenario,
        switch=switch,
        broken=tuple(verdict.promise for verdict in broken),
        expected=expected,
        why=shown.offenders[0] if shown and shown.offenders else "",
    )


def _run(folder: Path, name: str, switch: str | None) -> list[Verdict]:
    scenario = SCENARIOS[name]
    shutil.rmtree(folder, ignore_errors=True)
    chaos = Chaos(
        folder=folder,
        seed=1,
        mix=scenario.mix,
        steps=scenario.steps,
        sabotage=switch,
        partitioner="consistent_random" if switch == "default-partitioner" else "murmur2_random",
        settle_s=scenario.settle_s,
        replicas=SMALL,
        env=scenario.env,
        idle_s=scenario.idle_s,
        script=scenario.script,
        jobs=scenario.jobs() if scenario.jobs is not None else None,
    )
    evidence = asyncio.run(run_chaos(chaos))
    verdicts = judge(evidence)
    write_verdicts(folder / "verdicts.json", verdicts)
    return verdicts


def matrix_lines(rows: Sequence[Row]) -> list[str]:
    """The matrix as text, and how many were caught."""
    switches = [row for row in rows if row.switch is not None]
    caught = sum(row.is_right for row in switches)
    calm = [row for row in rows if row.switch is None]
    return [
        "",
        "sabotage: switch, scenario, verdict, broken promises, the first thing that was seen",
        *map(_line, rows),
        f"caught {caught} of {len(switches)}",
        f"clean without a switch: {sum(row.is_right for row in calm)} of {len(calm)} scenarios",
    ]


def _line(row: Row) -> str:
    if row.switch is None:
        word = "clean" if row.is_right else "ACCUSED"
    else:
        word = "caught" if row.is_right else "MISSED"
    switch = row.switch or "-"
    return f"{switch:22} {row.scenario:15} {word:8} {','.join(row.broken):14} {row.why[:90]}"
