"""The one number that must never be wrong."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from penstock_kit.lanes.tracker import OffsetTracker, Slot


def begin(tracker: OffsetTracker, *offsets: int) -> list[Slot]:
    slots = [Slot(offset) for offset in offsets]
    for slot in slots:
        tracker.begin(slot)
    return slots


def test_position_when_nothing_was_committed_then_first_record() -> None:
    tracker = OffsetTracker(-1)

    begin(tracker, 7)

    assert tracker.position == 7


def test_position_when_a_gap_closes_then_everything_behind_it_counts() -> None:
    tracker = OffsetTracker(0)
    first, second, third = begin(tracker, 0, 1, 5)

    tracker.finish(third)
    tracker.finish(second)
    assert (tracker.position, tracker.beyond_gap) == (0, 2)

    tracker.finish(first)
    assert (tracker.position, tracker.beyond_gap, tracker.oldest) == (6, 0, None)


class TrackerMachine(RuleBasedStateMachine):
    """Against the obvious model: a set of unfinished offsets."""

    running: Bundle[Slot] = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker(0)
        self.next_offset = 0
        self.unfinished: set[int] = set()
        self.finished: set[int] = set()
        self.highest_position = 0

    @rule(target=running, gap=st.integers(0, 3))
    def begin(self, gap: int) -> Slot:
        self.next_offset += gap
        slot = Slot(self.next_offset)
        self.next_offset += 1
        self.tracker.begin(slot)
        self.unfinished.add(slot.offset)
        return slot

    @rule(slot=consumes(running))
    def finish(self, slot: Slot) -> None:
        self.tracker.finish(slot)
        self.unfinished.remove(slot.offset)
        self.finished.add(slot.offset)

    @invariant()
    def nothing_unfinished_is_below_the_position(self) -> None:
        assert all(offset >= self.tracker.position for offset in self.unfinished)

    @invariant()
    def everything_contiguous_is_below_the_position(self) -> None:
        lowest = min(self.unfinished, default=self.next_offset)
        assert all(o < self.tracker.position for o in self.finished if o < lowest)

    @invariant()
    def counts_agree(self) -> None:
        beyond = [o for o in self.finished if o >= self.tracker.position]
        assert self.tracker.beyond_gap == len(beyond)
        assert self.tracker.unfinished == len(self.unfinished)
        oldest = self.tracker.oldest
        assert (oldest.offset if oldest else None) == min(self.unfinished, default=None)

    @invariant()
    def position_never_goes_back(self) -> None:
        assert self.tracker.position >= self.highest_position
        self.highest_position = self.tracker.position


TrackerMachine.TestCase.settings = settings(max_examples=500, stateful_step_count=40, deadline=None)
TestTracker = TrackerMachine.TestCase
