"""Estimated waits from lag and pace: figures that can be worked out by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gateway.admission.backlog import Backlog, estimate_wait_s, lag_topics
from gateway.admission.crowd import Crowd
from gateway.admission.metrics import AdmissionMetrics
from gateway.admission.pace import GroupPace, Pace
from penstock_contracts.requests import Priority
from penstock_kit.kafka.lag import GroupLag
from penstock_kit.tasks import TaskCatalog
from penstock_kit.telemetry.metrics import Metrics

from tests.support.clock import HandClock

TEN_AT_ONCE = GroupPace(running=10, service_s=2.0, parallelism=10)
D, H, L = Priority.DEFAULT, Priority.HIGH, Priority.LOW


class Desk:
    """A backlog with everything around it."""

    def __init__(self, *, gateways: int = 1) -> None:
        self.clock = HandClock()
        self.crowd, self.pace = Crowd(self.clock), Pace(self.clock)
        self.backlog = Backlog(
            TaskCatalog.builtin(),
            gateways=gateways,
            crowd=self.crowd,
            pace=self.pace,
            metrics=AdmissionMetrics(Metrics()),
            clock=self.clock,
        )

    def tell(self, **lags: int) -> None:
        """The broker's answer for the llm-worker; names are topics with `_` for `.`."""
        topics = {name.replace("_", "."): lag for name, lag in lags.items()}
        self.backlog.see(GroupLag(self.clock.monotonic(), {"llm-worker": topics}))

    def work(self, *, seconds: float, at_once: int, rounds: int = 1) -> None:
        """Let the llm-worker run jobs in full rounds."""
        for turn in range(rounds):
            jobs = [f"job_{turn}_{number}" for number in range(at_once)]
            for job in jobs:
                self.pace.started(job, "llm-worker")
            self.clock.advance(timedelta(seconds=seconds))
            for job in jobs:
                self.pace.ended(job)


@pytest.mark.parametrize(
    ("priority", "lags", "expected"),
    [
        (D, {D: 0}, 0.0),
        (D, {D: 10}, 0.0),  # all of it runs
        (D, {D: 110}, 20.0),  # 100 wait, 2 s each, ten at once
        (H, {D: 110}, 0.0),  # no high job is ahead
        (L, {D: 110}, 0.0),
        (H, {H: 55, D: 55}, 15.0),  # 50 high ones at 6 of 9 parts of the pace
        (D, {H: 55, D: 55}, 20.0),  # at 3 of 9 parts, but never more than everything
        (L, {H: 100, L: 10}, 0.2 * 7 * 1000 / 110),  # its 100/11 jobs at 1 of 7 parts
    ],
)
def test_estimate_counts_what_is_ahead(
    priority: Priority, lags: dict[Priority, int], expected: float
) -> None:
    found = estimate_wait_s(priority, lags, TEN_AT_ONCE, is_saturated=False)

    assert found == pytest.approx(expected)


def test_estimate_when_no_job_ended_yet_is_unknown() -> None:
    assert estimate_wait_s(D, {D: 5}, GroupPace(), is_saturated=True) is None
    assert estimate_wait_s(D, {D: 0}, GroupPace(), is_saturated=True) == 0.0


def test_estimate_when_saturated_believes_the_slower_drain() -> None:
    pace = GroupPace(running=10, service_s=2.0, parallelism=10, drain_per_s=1.0)

    assert estimate_wait_s(D, {D: 110}, pace, is_saturated=True) == pytest.approx(100.0)
    assert estimate_wait_s(D, {D: 110}, pace, is_saturated=False) == pytest.approx(20.0)


def test_pace_learns_service_time_parallelism_and_drain() -> None:
    desk = Desk()
    desk.work(seconds=1, at_once=10, rounds=12)

    pace = desk.pace.of("llm-worker")

    assert (pace.running, pace.service_s, pace.parallelism) == (0, 1.0, 10)
    assert pace.drain_per_s == 10.0


def test_pace_when_the_group_slows_down_believes_it_at_once() -> None:
    desk = Desk()
    desk.work(seconds=1, at_once=10, rounds=12)
    desk.work(seconds=1, at_once=1, rounds=4)
    slow = desk.pace.of("llm-worker").drain_per_s
    desk.work(seconds=1, at_once=10, rounds=4)
    faster = desk.pace.of("llm-worker").drain_per_s

    assert slow == 1.0
    assert faster is not None
    assert 1.0 < faster < 10.0


def test_pace_when_starts_are_seen_before_the_ends_that_made_room_believes_the_mean() -> None:
    desk = Desk()
    running: list[str] = []
    for turn in range(12):
        jobs = [f"job_{turn}_{number}" for number in range(8)]
        for job in jobs:
            desk.pace.started(job, "llm-worker")
        desk.clock.advance(timedelta(milliseconds=50))
        for job in running:
            desk.pace.ended(job)
        desk.clock.advance(timedelta(milliseconds=950))
        running = jobs

    assert desk.pace.of("llm-worker").parallelism == pytest.approx(8, rel=0.06)


def test_pace_when_a_burst_follows_an_idle_time_is_not_diluted_by_it() -> None:
    desk = Desk()
    desk.work(seconds=1, at_once=1)
    for _ in range(90):  # the gateway looks each second
        desk.clock.advance(timedelta(seconds=1))
        desk.pace.of("llm-worker")
    desk.clock.advance(timedelta(seconds=0.95))

    seen = []
    for number in range(16):
        desk.pace.started(f"burst_{number}", "llm-worker")
    for _ in range(30):
        desk.clock.advance(timedelta(milliseconds=50))
        seen.append(desk.pace.of("llm-worker").parallelism)

    assert seen == [pytest.approx(16)] * 30


def test_pace_when_short_jobs_come_rarely_has_room_for_one_at_least() -> None:
    desk = Desk()
    for turn in range(40):
        desk.pace.started(f"job_{turn}", "llm-worker")
        desk.clock.advance(timedelta(milliseconds=20))
        desk.pace.ended(f"job_{turn}")
        desk.clock.advance(timedelta(milliseconds=980))

    assert desk.pace.of("llm-worker").parallelism == 1


def test_pace_until_a_job_ended_is_at_least_as_slow_as_the_first_one() -> None:
    desk = Desk()
    desk.pace.started("job", "llm-worker")
    desk.clock.advance(timedelta(seconds=30))

    assert desk.pace.of("llm-worker").service_s == 30


def test_pace_when_workers_left_forgets_their_parallelism() -> None:
    desk = Desk()
    desk.work(seconds=2, at_once=10)
    for _ in range(3):
        desk.clock.advance(timedelta(seconds=31))
        desk.work(seconds=2, at_once=3)

    assert desk.pace.of("llm-worker").parallelism == 3


def test_pace_when_an_attempt_was_lost_counts_its_job_once() -> None:
    desk = Desk()
    desk.pace.started("job", "llm-worker")
    desk.pace.started("job", "llm-worker")

    assert desk.pace.of("llm-worker").running == 1


def test_wait_joins_what_the_broker_says_with_what_came_since() -> None:
    desk = Desk(gateways=2)
    desk.work(seconds=2, at_once=10)
    desk.tell(ai_chat_requests_v1=100)
    for _ in range(25):
        desk.backlog.took("chat", D)

    assert desk.backlog.total == 150
    assert desk.backlog.wait_s("chat", D) == pytest.approx(30.0)


def test_wait_when_the_broker_tells_again_counts_own_jobs_once() -> None:
    desk = Desk()
    desk.tell(ai_chat_requests_v1=0)
    desk.backlog.took("chat", D)
    desk.clock.advance(timedelta(seconds=1))
    desk.tell(ai_chat_requests_v1=1)

    assert desk.backlog.total == 1


def test_total_counts_a_waiting_retry_once_though_every_group_reads_it() -> None:
    desk = Desk()
    records = {
        "llm-worker": {"ai.chat.requests.v1": 4, "ai.retries.v1.30s": 7},
        "embedder": {"ai.embed.requests.v1": 2, "ai.retries.v1.30s": 5},
    }
    desk.backlog.see(GroupLag(desk.clock.monotonic(), records))

    assert desk.backlog.total == 4 + 2 + 7


def test_total_when_the_broker_is_silent_is_what_the_tail_saw() -> None:
    desk = Desk()
    desk.tell(ai_chat_requests_v1=100)
    desk.crowd.opened("job", "acme")
    desk.clock.advance(timedelta(seconds=16))

    assert desk.backlog.total == 1
    assert desk.backlog.wait_s("chat", D) is None


def test_lag_topics_name_every_lane_of_every_group() -> None:
    topics = lag_topics(TaskCatalog.builtin())

    assert set(topics) == {"llm-worker", "embedder"}
    assert {"ai.chat.requests.v1.low", "ai.retries.v1.10m"} <= set(topics["llm-worker"])


def test_crowd_counts_unfinished_jobs_of_others() -> None:
    desk = Desk()
    for job, tenant in (("a", "acme"), ("b", "acme"), ("c", "other"), ("a", "acme")):
        desk.crowd.opened(job, tenant)
    desk.crowd.closed("b")
    desk.crowd.closed("unknown")

    assert (desk.crowd.count("acme"), desk.crowd.others("acme"), desk.crowd.total) == (1, 1, 2)


def test_crowd_forgets_jobs_that_are_never_heard_of_again() -> None:
    desk = Desk()
    desk.crowd.opened("old", "acme")
    desk.clock.advance(timedelta(hours=7))
    desk.crowd.opened("new", "acme")

    assert desk.crowd.count("acme") == 1
