"""The judges of special situations, each on evidence that keeps its promise and that breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promises.checker.fairness import check_fairness, jain
from tests.promises.checker.overload import check_overload
from tests.promises.checker.quiet import check_long_jobs, check_memory, slope
from tests.promises.checker.rolling import check_rolling
from tests.promises.checker.slow_readers import check_slow_readers
from tests.promises.checker.storm import check_storm
from tests.promises.checker.stuck import check_stuck
from tests.support.story import Story, T


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize(("calls", "is_kept"), [(1, True), (2, False)])
def test_long_jobs_when_called_again_then_broken(
    story: Story, *, calls: int, is_kept: bool
) -> None:
    story.job("a", "long")
    story.event("a", "completed", "1-2", at=T + 30)
    for attempt in range(1, calls + 1):
        story.call("a", attempt, at=T, until=T + 30)

    assert check_long_jobs(story.evidence).is_kept is is_kept


@pytest.mark.parametrize(("mib_per_s", "is_kept"), [(0.01, True), (1.0, False)])
def test_memory_when_it_grows_without_end_then_broken(
    story: Story, *, mib_per_s: float, is_kept: bool
) -> None:
    for second in range(0, 60, 2):
        rss = int((100 + second * mib_per_s) * (1 << 20))
        story.line("memory", label="gateway-1", pid=1, at=T + second, rss=rss, fds=20)

    assert check_memory(story.evidence).is_kept is is_kept


def test_slope_when_the_points_lie_on_a_line_then_exact() -> None:
    assert slope([(x, 3.0 + 2.0 * x) for x in range(10)]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("status", "answer", "is_kept"), [(0, 202, True), (1, 202, False), (0, 500, False)]
)
def test_rolling_when_a_stop_or_an_answer_fails_then_broken(
    story: Story, *, status: int, answer: int, is_kept: bool
) -> None:
    story.line("processes", event="signal", label="g", pid=1, signal="SIGTERM", at=T)
    story.line("processes", event="exit", label="g", pid=1, status=status, at=T + 3)
    story.line("submits", key="k", status=answer, code=None, job="a", changed=False)

    assert check_rolling(story.evidence).is_kept is is_kept


@pytest.mark.parametrize(("end", "is_kept"), [(T + 5, True), (T + 40, False)])
def test_storm_when_jobs_stay_behind_then_broken(
    story: Story, *, end: float, is_kept: bool
) -> None:
    story.line("faults", action="kill", target="w", since=T, until=T + 10)
    story.job("a", "cheap")
    story.event("a", "completed", "1-2", at=end)

    assert check_storm(story.evidence).is_kept is is_kept


def _flood(story: Story, *, retry_after: str | None, end: str) -> None:
    story.job("a", "flood")
    story.event("a", end, "1-2")
    story.line("submits", key="flood-1", status=202, code=None, retry_after=None, began=T, at=T)
    story.line(
        "submits", key="flood-2", status=503, code="x", retry_after=retry_after, began=T, at=T
    )
    story.line("submits", key="after-1", status=202, code=None, retry_after=None, began=T, at=T + 2)


def test_overload_when_polite_then_kept(story: Story) -> None:
    _flood(story, retry_after="2", end="completed")

    assert check_overload(story.evidence).is_kept


@pytest.mark.parametrize(("retry_after", "end"), [(None, "completed"), ("2", "expired")])
def test_overload_when_impolite_or_late_then_broken(
    story: Story, *, retry_after: str | None, end: str
) -> None:
    _flood(story, retry_after=retry_after, end=end)

    assert check_overload(story.evidence).is_kept is False


@pytest.mark.parametrize(("wait", "is_kept"), [(1.0, True), (9.0, False)])
def test_fairness_when_guests_wait_behind_the_crowd_then_broken(
    story: Story, *, wait: float, is_kept: bool
) -> None:
    for n in range(20):
        story.job(f"alone{n}", "alone", tenant="b")
        story.event(f"alone{n}", "completed", "1-2", at=T + 0.5)
        story.job(f"guest{n}", "guest", tenant="b")
        story.event(f"guest{n}", "completed", "1-2", at=T + wait)

    assert check_fairness(story.evidence).is_kept is is_kept


def test_jain_when_equal_then_one_and_when_one_has_all_then_its_share() -> None:
    assert jain([5, 5, 5, 5]) == pytest.approx(1.0)
    assert jain([20, 0, 0, 0]) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("late_s", "closed", "is_kept"), [(0.1, True, True), (3.0, True, False), (0.1, False, False)]
)
def test_slow_readers_when_they_harm_or_stay_then_broken(
    story: Story, *, late_s: float, closed: bool, is_kept: bool
) -> None:
    story.line("readers", event="heard", phase="before", late_s=0.1)
    story.line("readers", event="slow", count=10, at=T)
    story.line("readers", event="heard", phase="beside", late_s=late_s)
    if closed:
        story.line("readers", event="closed", at=T + 10)

    assert check_slow_readers(story.evidence).is_kept is is_kept


@pytest.mark.parametrize(
    ("unready", "ended", "is_kept"), [(12, 50, True), (30, 50, False), (12, 80, False)]
)
def test_stuck_when_it_is_noticed_late_then_broken(
    story: Story, *, unready: float, ended: float, is_kept: bool
) -> None:
    story.line("stuck", what="frozen poll thread", label="w", at=T)
    story.line("readiness", label="w", ready=False, at=T + unready)
    story.line("processes", event="exit", label="w", pid=1, status=1, at=T + ended)
    story.line("readiness", label="w", ready=True, at=T + ended + 5)

    assert check_stuck(story.evidence).is_kept is is_kept
