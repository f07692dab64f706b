"""Processor time and memory of process trees, and how busy the machine was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

__all__ = ["Moment", "Usage", "look", "resident_bytes", "used_between"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Processor seconds used until now and bytes held, by tree; and the machine's own counts."""

    spent_s: Mapping[str, float]
    resident: Mapping[str, int]
    machine_busy_s: float
    machine_stolen_s: float
    machine_s: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used between two moments; seconds and bytes by tree, shares of all cores."""

    spent_s: Mapping[str, float]
    resident: Mapping[str, int]
    busy: float
    stolen: float

    def total_s(self) -> float:
        """Of all trees together."""
        return sum(self.spent_s.values())


def look(trees: Mapping[str, int]) -> Moment:
    """Read the counts; utime and stime of each process, its living and its reaped children."""
    machine = psutil.cpu_times()
    idle = machine.idle + machine.iowait
    stolen = machine.steal
    return Moment(
        spent_s={name: _tree_s(pid) for name, pid in trees.items()},
        resident={name: resident_bytes(pid) for name, pid in trees.items()},
        machine_busy_s=sum(machine[:8]) - idle - stolen,
        machine_stolen_s=stolen,
        machine_s=sum(machine[:8]),
    )


def used_between(before: Moment, after: Moment) -> Usage:
    """The difference."""
    wall_s = max(after.machine_s - before.machine_s, 1e-9)
    return Usage(
        spent_s={name: after.spent_s[name] - spent for name, spent in before.spent_s.items()},
        resident=after.resident,
        busy=(after.machine_busy_s - before.machine_busy_s) / wall_s,
        stolen=(after.machine_stolen_s - before.machine_stolen_s) / wall_s,
    )


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and all below it."""
    return sum(_resident(process) for process in _tree(pid))


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _tree_s(pid: int) -> float:
    total = 0.0
    for process in _tree(pid):
        try:
            spent = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its parent's count of reaped children has it from now on
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
