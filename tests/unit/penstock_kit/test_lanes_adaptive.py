"""A limit that follows what the other side bears."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from penstock_kit.lanes.adaptive import AdaptiveLimit


def answers(limit: AdaptiveLimit, count: int, latency_s: float, *, in_flight: int = 10_000) -> None:
    for _ in range(count):
        limit.succeeded(latency_s, in_flight=in_flight)


def test_limit_when_nothing_is_known_then_the_cap() -> None:
    limit = AdaptiveLimit(cap=256)
    answers(limit, 1000, 0.1)

    assert limit.limit == 256


def test_refused_when_many_were_in_flight_then_one_cut_for_all_of_them() -> None:
    limit = AdaptiveLimit(cap=100)
    for _ in range(100):
        limit.refused(in_flight=100)
    assert limit.limit == 70

    limit.refused(in_flight=70)
    assert limit.limit == 49


def test_refused_when_it_goes_on_then_never_below_the_floor() -> None:
    limit = AdaptiveLimit(cap=100, floor=2)
    for _ in range(100):
        limit.refused(in_flight=1)

    assert limit.limit == 2


def test_succeeded_when_used_up_again_then_back_to_the_cap_and_not_at_once() -> None:
    limit = AdaptiveLimit(cap=100)
    for _ in range(10):
        limit.refused(in_flight=1)
    low = limit.limit

    answers(limit, max(low, 5), 0.1)
    assert low < limit.limit < 100
    answers(limit, 5000, 0.1)
    assert limit.limit == 100


def test_succeeded_when_it_is_not_used_up_then_no_growth() -> None:
    limit = AdaptiveLimit(cap=100)
    limit.refused(in_flight=1)

    answers(limit, 1000, 0.1, in_flight=5)

    assert limit.limit == 70


def test_latency_when_it_doubles_and_more_then_the_limit_falls() -> None:
    limit = AdaptiveLimit(cap=100)
    answers(limit, 500, 0.1)

    answers(limit, 100, 0.5)

    assert limit.limit == 50


def test_latency_when_a_few_answers_are_very_slow_then_nothing_changes() -> None:
    limit = AdaptiveLimit(cap=100)
    for _ in range(50):
        answers(limit, 70, 0.1)
        answers(limit, 30, 10.0)

    assert limit.limit == 100


def test_latency_when_it_stays_high_then_it_becomes_the_usual() -> None:
    limit = AdaptiveLimit(cap=100)
    answers(limit, 500, 0.1)

    answers(limit, 20_000, 0.5)

    assert limit.limit == 100


def test_limit_when_the_other_side_bears_less_then_it_settles_around_that() -> None:
    """A dependency that refuses whatever is beyond 40 at once."""
    limit = AdaptiveLimit(cap=256)
    seen = []
    for _ in range(2000):
        at_once = limit.limit
        if at_once > 40:
            for _ in range(at_once - 40):
                limit.refused(in_flight=at_once)
        answers(limit, min(at_once, 40), 0.1, in_flight=at_once)
        seen.append(limit.limit)

    steady = seen[100:]
    assert max(steady) <= 48
    assert sum(steady) / len(steady) > 30


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e6), st.integers(0, 5000)), max_size=300))
def test_limit_when_anything_happens_then_within_floor_and_cap(
    events: list[tuple[bool, float, int]],
) -> None:
    limit = AdaptiveLimit(cap=50, floor=3)
    for is_answer, latency_s, in_flight in events:
        if is_answer:
            limit.succeeded(latency_s, in_flight=in_flight)
        else:
            limit.refused(in_flight=in_flight)
        assert 3 <= limit.limit <= 50
