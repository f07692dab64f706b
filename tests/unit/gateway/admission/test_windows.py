"""Sliding windows: never more than the limit in any window, whatever the arrivals."""

from __future__ import annotations

from gateway.admission.store import EXACT_UP_TO, SLOTS
from gateway.admission.windows import ExactWindow, SlotWindow, make_window
from hypothesis import given
from hypothesis import strategies as st

WINDOW_MS = 6000


def let_through(window: ExactWindow | SlotWindow, limit: int, gaps: list[int]) -> list[int]:
    """The instants at which a greedy caller got a place."""
    now, passed = 1_000_000, []
    for number, gap in enumerate(gaps):
        now += gap
        if window.look(now)[0] < limit:
            window.take(f"job_{number}", now)
            passed.append(now)
    return passed


def most_in_a_window(instants: list[int]) -> int:
    return max(
        (sum(start <= at < start + WINDOW_MS for at in instants) for start in instants), default=0
    )


@given(
    limit=st.integers(1, 12),
    gaps=st.lists(st.integers(0, 2500), max_size=120),
    is_exact=st.booleans(),
)
def test_window_lets_never_more_than_the_limit_pass(
    limit: int, gaps: list[int], is_exact: bool
) -> None:
    kind = ExactWindow if is_exact else SlotWindow

    passed = let_through(kind(limit, WINDOW_MS), limit, gaps)

    assert most_in_a_window(passed) <= limit


@given(
    limit=st.integers(1, 12),
    gaps=st.lists(st.integers(0, 2500), min_size=1, max_size=60),
    is_exact=st.booleans(),
)
def test_window_when_full_tells_when_a_place_is_free(
    limit: int, gaps: list[int], is_exact: bool
) -> None:
    window = (ExactWindow if is_exact else SlotWindow)(limit, WINDOW_MS)
    now = let_through(window, limit, gaps)[-1]
    while window.look(now)[0] < limit:
        window.take(f"more_{window.look(now)[0]}", now)

    reset_ms = window.look(now)[1]

    assert 0 < reset_ms <= WINDOW_MS * (1 + 1 / SLOTS)
    assert window.look(now + reset_ms - 1)[0] == limit
    assert window.look(now + reset_ms)[0] < limit


def test_window_when_the_limit_is_large_counts_in_slots() -> None:
    assert isinstance(make_window(EXACT_UP_TO, WINDOW_MS), ExactWindow)
    assert isinstance(make_window(EXACT_UP_TO + 1, WINDOW_MS), SlotWindow)


def test_slots_give_a_place_back_at_most_one_slot_late() -> None:
    window = SlotWindow(1, WINDOW_MS)
    window.take("job", 1_000_099)

    assert window.look(1_000_099 + WINDOW_MS)[0] == 1
    assert window.look(1_000_099 + WINDOW_MS + WINDOW_MS // SLOTS)[0] == 0


def test_window_when_given_back_is_as_before() -> None:
    for window in (ExactWindow(2, WINDOW_MS), SlotWindow(2, WINDOW_MS)):
        window.take("a", 1000)
        window.take("b", 2000)
        window.give_back("b", 2000)

        assert window.look(2000)[0] == 1
