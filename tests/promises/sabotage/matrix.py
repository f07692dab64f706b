"""Runs every switch in its scenario, and every scenario without one: who is caught by what?"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.promises.chaos import Chaos, run_chaos
from tests.promises.checker.judge import judge, write_verdicts
from tests.promises.checker.verdict import Verdict
from tests.promises.sabotage.scenarios import SCENARIOS, SMALL
from tests.promises.sabotage.switches import SWITCHES, Switch
from tests.promises.tracks import to_the_end

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


@dataclass(frozen=True, slots=True)
class _Run:
    """A scenario with some switches at once; none: the product as it is."""

    scenario: str
    switches: tuple[str, ...] = ()


def run_matrix(
    folder: Path,
    names: Sequence[str] | None = None,
    *,
    each_alone: bool = False,
    at_once: int = 4,
    known: Mapping[str, Sequence[Verdict]] = {},
) -> list[Row]:
    """All rows; scenarios without a switch belong to it, for the checker must not cry wolf.

    Args:
        folder: for the evidence.
        names: only these switches.
        each_alone: no two switches share a run.
        at_once: a run waits more than it works, so some go side by side, the longest first.
        known: verdicts of scenarios that have been run without a switch already.
    """
    wanted = [SWITCHES[name] for name in names or SWITCHES]
    runs = [_Run(name) for name in dict.fromkeys(switch.scenario for switch in wanted)]
    runs += _shared(wanted, each_alone=each_alone)
    judged = {
        run: known[run.scenario] for run in runs if not run.switches and run.scenario in known
    }
    asked = sorted(
        (run for run in runs if run not in judged), key=lambda run: -SCENARIOS[run.scenario].about_s
    )
    with ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(_run, folder, run): run for run in asked}
        for future in as_completed(running):
            judged[running[future]] = future.result()
            print("\n".join(map(_line, _rows(running[future], future.result()))), flush=True)
    return [row for run in runs for row in _rows(run, judged[run])]


def _shared(switches: Sequence[Switch], *, each_alone: bool) -> list[_Run]:
    """Switches of one scenario together, if it allows that, as long as each can be told apart."""
    runs: list[list[Switch]] = []
    for switch in switches:
        is_alone = each_alone or not SCENARIOS[switch.scenario].takes_several
        for run in [] if is_alone else runs:
            if run[0].scenario == switch.scenario and not any(_clash(switch, o) for o in run):
                run.append(switch)
                break
        else:
            runs.append([switch])
    return [_Run(run[0].scenario, tuple(switch.name for switch in run)) for run in runs]


def _clash(one: Switch, other: Switch) -> bool:
    return bool(set(one.breaks) & set(other.breaks)) or (
        one.name in other.hides or other.name in one.hides
    )


def _rows(run: _Run, verdicts: Sequence[Verdict]) -> list[Row]:
    broken = [verdict for verdict in verdicts if verdict.is_kept is False]
    if not run.switches:
        return [_row(run.scenario, None, broken)]
    if len(run.switches) == 1:
        return [_row(run.scenario, run.switches[0], broken)]
    return [
        _row(run.scenario, name, [one for one in broken if one.promise in SWITCHES[name].breaks])
        for name in run.switches
    ]


def _row(scenario: str, switch: str | None, broken: Sequence[Verdict]) -> Row:
    expected = SWITCHES[switch].breaks if switch is not None else ()
    shown = next((v for v in broken if v.promise in expected), broken[0] if broken else None)
    return Row(
        scenario=scenario,
        switch=switch,
        broken=tuple(verdict.promise for verdict in broken),
        expected=expected,
        why=shown.offenders[0] if shown and shown.offenders else "",
    )


def _run(folder: Path, run: _Run) -> list[Verdict]:
    name = "-".join([run.scenario, *(run.switches or ("as-it-is",))])
    return to_the_end(name, _judged, folder / name, run)


def _judged(folder: Path, run: _Run) -> list[Verdict]:
    scenario = SCENARIOS[run.scenario]
    shutil.rmtree(folder, ignore_errors=True)
    is_crc = "default-partitioner" in run.switches
    chaos = Chaos(
        folder=folder,
        seed=1,
        mix=scenario.mix,
        steps=scenario.steps,
        sabotage=run.switches,
        partitioner="consistent_random" if is_crc else "murmur2_random",
        settle_s=scenario.settle_s,
        replicas=SMALL,
        env=scenario.env,
        idle_s=scenario.idle_s,
        script=scenario.script,
        jobs=scenario.jobs() if scenario.jobs is not None else None,
    )
    verdicts = judge(asyncio.run(run_chaos(chaos)))
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
