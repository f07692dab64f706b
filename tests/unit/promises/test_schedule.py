"""A schedule is made from its seed alone, can be replayed, and hits no target twice at once."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from tests.promises.schedule import DECK, draw_schedule, read_schedule, write_schedule


def test_schedule_when_drawn_twice_then_the_same() -> None:
    assert draw_schedule(7, load_s=60) == draw_schedule(7, load_s=60)
    assert draw_schedule(7, load_s=60) != draw_schedule(8, load_s=60)


def test_schedule_when_written_then_replayed_exactly(tmp_path: Path) -> None:
    steps = draw_schedule(3, load_s=60)
    write_schedule(tmp_path / "schedule.json", 3, steps)

    assert read_schedule(tmp_path / "schedule.json") == (3, steps)


@pytest.mark.parametrize("seed", range(20))
def test_schedule_when_drawn_then_every_fault_is_there_and_none_overlaps(seed: int) -> None:
    steps = draw_schedule(seed, load_s=60)

    assert len(steps) == sum(fault.times for fault in DECK)
    assert sum(step.action in ("kill", "wipe") for step in steps) >= 14
    for one, other in combinations(steps, 2):
        if one.target == other.target:
            assert one.ends_s < other.at_s or other.ends_s < one.at_s
