import pytest
from penstock_contracts.dead import DeadReason
from penstock_kit.errors import Fatal
from penstock_kit.lanes.dead_limit import DeadLimit


def bury(limit: DeadLimit, reason: DeadReason, times: int, *, now: float = 0.0) -> None:
    for _ in range(times):
        limit.check(now, reason)
        limit.finished += 1


def test_failures_when_they_are_most_of_a_minute_then_stop_the_process() -> None:
    limit = DeadLimit(20, name="test")
    limit.finished += 10

    with pytest.raises(Fatal, match="dead-lettered 20 of the last"):
        bury(limit, DeadReason.FAILURE, 21)


def test_failures_when_spread_over_minutes_then_stop_nothing() -> None:
    limit = DeadLimit(20, name="test")

    for minute in range(10):
        bury(limit, DeadReason.FAILURE, 19, now=60.0 * minute)


def test_poison_when_something_went_well_then_stops_nothing() -> None:
    limit = DeadLimit(20, name="test")
    limit.finished += 1

    bury(limit, DeadReason.POISON, 5000)


def test_poison_when_nothing_ever_went_well_then_stops_the_process() -> None:
    limit = DeadLimit(20, name="test")

    with pytest.raises(Fatal):
        bury(limit, DeadReason.POISON, 21)
