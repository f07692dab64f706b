"""Positions in line: exact, and cheap for whoever asks."""

from __future__ import annotations

import random

import pytest
from gateway.queueing import QueueLines

from tests.support.clock import HandClock


def line_of(count: int) -> QueueLines:
    """A proven line: one job has gone through it, `count` wait."""
    lines = QueueLines(HandClock())
    lines.queued("first", task="chat", priority="default")
    lines.started("first")
    for number in range(count):
        lines.queued(f"job{number}", task="chat", priority="default")
    return lines


def position(lines: QueueLines, job: str) -> int | None:
    figures = lines.figures(job)
    assert figures is not None
    return figures.position


def test_position_counts_who_waits_before() -> None:
    lines, chance = line_of(60), random.Random(5)
    waiting = [f"job{number}" for number in range(60)]
    for job in chance.sample(waiting, 25):
        lines.started(job)
        waiting.remove(job)

    assert [position(lines, job) for job in waiting] == list(range(1, 36))


@pytest.mark.parametrize(("job", "place"), [("job19990", 19_991), ("job7", 8), ("job10000", None)])
def test_position_in_a_long_line_is_counted_from_the_nearer_end(
    job: str, place: int | None
) -> None:
    assert position(line_of(20_000), job) == place
