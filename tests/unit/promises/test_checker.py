"""The checker on evidence made by hand: it must see each kind of broken promise, and only those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.promises.checker.calls import check_at_most_once, check_calls
from tests.promises.checker.evidence import Event
from tests.promises.checker.fold import fold
from tests.promises.checker.keys import check_keys
from tests.promises.checker.losses import check_losses
from tests.promises.checker.order import check_order
from tests.promises.checker.poison import check_poison
from tests.promises.checker.results import check_redis_loss, check_results
from tests.promises.checker.retries import check_retries
from tests.promises.checker.streams import check_streams
from tests.support.story import Story, T, b64


def _says(text: str) -> dict[str, Any]:
    return {"kind": "chat", "choices": [{"index": 0, "text": text}]}


def _delta(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "choice": 0, "text": text}]


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def _event(kind: str, attempt: int, offset: int) -> Event:
    return Event("j", kind, attempt, 1, T, 0, offset, {"n": offset})


def test_fold_when_a_zombie_ends_after_a_newer_start_then_superseded() -> None:
    events = [
        _event("started", 1, 0),
        _event("started", 2, 1),
        _event("completed", 1, 2),
        _event("completed", 2, 3),
    ]

    folded = fold(events)

    assert folded.end is events[3]
    assert folded.superseded == (events[2],)


def test_fold_when_the_first_end_stands_then_later_ones_are_superseded() -> None:
    events = [_event("started", 1, 0), _event("completed", 1, 1), _event("failed", 2, 2)]

    assert fold(events).end is events[1]


def test_losses_when_a_job_has_no_end_then_broken(story: Story) -> None:
    story.job("a")
    story.event("a", "completed", "1-2")
    assert check_losses(story.evidence).is_kept

    story.job("b")
    story.event("b", "started", "1-1")
    assert check_losses(story.evidence).is_kept is False


def test_losses_when_accepted_but_in_no_topic_then_broken(story: Story) -> None:
    story.line("jobs", event="planned", number=1, kind="plain", key="k")
    story.line("jobs", event="known", number=1, job="a")

    assert check_losses(story.evidence).is_kept is False


def test_losses_when_the_end_comes_too_late_then_broken(story: Story) -> None:
    story.job("a")
    story.event("a", "completed", "1-2", at=T + 121)
    story.line("faults", action="kill", target="kafka", since=T - 1, until=T)

    assert check_losses(story.evidence).is_kept is False


def test_results_when_the_api_shows_another_end_then_broken(story: Story) -> None:
    story.job("a")
    story.event("a", "completed", "1-2")
    story.line("jobs", event="api", job="a", status="failed")

    assert check_results(story.evidence).is_kept is False


def test_redis_loss_when_the_table_is_late_then_broken_unless_its_rebuild_was_cut(
    story: Story,
) -> None:
    story.line("faults", action="wipe", target="redis", since=T - 1, until=T)
    story.line("rebuilds", at=T + 47, took_s=47.0)
    assert check_redis_loss(story.evidence).is_kept is False

    story.line("faults", action="kill", target="llm-worker-1", since=T + 30, until=T + 31)
    assert check_redis_loss(story.evidence).is_kept is False

    story.line("faults", action="kill", target="recorder-1", since=T + 18, until=T + 19)
    assert check_redis_loss(story.evidence).is_kept


def test_redis_loss_when_the_table_is_never_whole_again_then_broken(story: Story) -> None:
    story.line("faults", action="wipe", target="redis", since=T - 1, until=T)
    story.line("rebuilds", at=T + 90, took_s=None)

    assert check_redis_loss(story.evidence).is_kept is False


def test_calls_when_repeated_without_an_excuse_then_broken(story: Story) -> None:
    story.job("a")
    story.event("a", "started", "1-1", at=T, worker="w1")
    story.call("a", 1, at=T, until=T + 1)
    story.call("a", 2, at=T + 5, until=T + 6)
    assert check_calls(story.evidence).is_kept is False

    story.kill("w1", at=T + 0.5)
    assert check_calls(story.evidence).is_kept


def test_calls_when_the_result_was_in_the_log_before_the_kill_then_no_excuse(story: Story) -> None:
    story.job("a")
    story.event("a", "started", "1-1", at=T, worker="w1")
    story.call("a", 1, at=T, until=T + 1)
    story.event("a", "completed", "1-2", at=T + 1)
    story.kill("w1", at=T + 3)
    story.call("a", 2, at=T + 5, until=T + 6)

    assert check_calls(story.evidence).is_kept is False


def test_calls_when_an_attempt_is_called_twice_then_broken_even_after_a_kill(story: Story) -> None:
    story.job("a")
    story.event("a", "started", "1-1", at=T, worker="w1")
    story.kill("w1", at=T + 0.5)
    story.call("a", 1, at=T, until=T + 1)
    story.call("a", 1, at=T + 2, until=T + 3)

    assert check_calls(story.evidence).is_kept is False


def test_calls_when_the_attempt_failed_and_said_so_then_fine(story: Story) -> None:
    story.job("a")
    story.event("a", "started", "1-1", worker="w1")
    story.event("a", "retrying", "1-2", delay_s=1.0)
    story.call("a", 1, at=T, until=T + 1)
    story.call("a", 2, at=T + 2, until=T + 3)

    assert check_calls(story.evidence).is_kept


@pytest.mark.parametrize(
    ("how", "script", "over_s", "is_kept"),
    [
        ("cut", "cut=4;times=1", 1, True),
        ("ended", "error=2;times=1", 1, True),
        ("aborted", "hang=4;times=1", 1, True),
        ("aborted", "tokens=20", 1, False),
        ("completed", "hang=4;times=1", 1, False),
        ("cut", "cut=4;times=1", 25, False),
    ],
)
def test_calls_when_the_provider_itself_failed_and_the_word_of_it_got_lost_then_fine(
    story: Story, how: str, script: str, over_s: float, is_kept: bool
) -> None:
    story.job("a", "failing", script=script)
    story.event("a", "started", "1-1", worker="w1")
    story.call("a", 1, at=T, until=T + over_s, how=how)
    story.call("a", 2, at=T + 20, until=T + 21)

    assert check_calls(story.evidence).is_kept is is_kept


def test_calls_when_only_the_second_call_was_cut_then_a_third_has_no_excuse(story: Story) -> None:
    story.job("a", "failing", script="cut=4;times=1")
    story.event("a", "started", "1-1", worker="w1")
    story.call("a", 1, at=T, until=T + 1, how="cut")
    story.call("a", 2, at=T + 5, until=T + 6, how="cut")
    assert check_calls(story.evidence).is_kept

    story.call("a", 3, at=T + 10, until=T + 11)
    assert check_calls(story.evidence).is_kept is False


def test_at_most_once_when_called_twice_then_broken(story: Story) -> None:
    story.job("a", "at_most_once")
    story.event("a", "completed", "2-2")
    story.call("a", 1, at=T, until=T + 1)
    assert check_at_most_once(story.evidence).is_kept

    story.call("a", 2, at=T + 2, until=T + 3)
    assert check_at_most_once(story.evidence).is_kept is False


@pytest.mark.parametrize(("start", "is_kept"), [(T + 2, True), (T + 0.5, False)])
def test_order_when_a_turn_starts_before_the_last_one_ended_then_broken(
    story: Story, start: float, is_kept: bool
) -> None:
    story.job("a", "turn", conversation="c", turn=0)
    story.job("b", "turn", conversation="c", turn=1)
    story.event("a", "completed", "1-2", at=T + 1)
    story.event("b", "started", "1-1", at=start)

    assert check_order(story.evidence).is_kept is is_kept


@pytest.mark.parametrize(("again", "is_kept"), [(T + 5.0, True), (T + 4.0, False)])
def test_retries_when_the_next_attempt_starts_early_then_broken(
    story: Story, again: float, is_kept: bool
) -> None:
    story.event("a", "retrying", "1-2", at=T, delay_s=5.0)
    story.event("a", "started", "2-1", at=again)

    assert check_retries(story.evidence).is_kept is is_kept


def test_retries_when_late_in_quiet_then_broken(story: Story) -> None:
    for number in range(200):
        story.event(f"j{number}", "retrying", "1-2", at=T, delay_s=5.0)
        story.event(f"j{number}", "started", "2-1", at=T + 5 + (9 if number < 20 else 0))

    assert check_retries(story.evidence).is_kept
    assert check_retries(story.evidence, is_quiet=True).is_kept is False


def test_poison_when_a_dead_letter_differs_in_one_byte_then_broken(story: Story) -> None:
    where = {"penstock_dead_topic": "t", "penstock_dead_partition": "0"}
    story.record("t", b"abc", {"x": "1"})
    story.line("malformed", name="m", place=["t", 0, 0], value=b64(b"abc"), headers="[]")
    story.record("ai.dead.v1", b"abd", {"x": "1", **where, "penstock_dead_offset": "0"})

    verdict = check_poison(story.evidence)

    assert verdict.is_kept is False
    assert len(verdict.offenders) == 2  # it differs, and the malformed record is not there


def test_poison_when_a_job_crashes_four_workers_then_broken(story: Story) -> None:
    story.job("a", "poison")
    for _ in range(4):
        story.line("crashes", job="a", label="w1")

    assert check_poison(story.evidence).is_kept is False


def _stream(story: Story, *frames: dict[str, Any]) -> None:
    story.event("a", "started", "1-1")
    story.event("a", "delta", "1-2", deltas=_delta("one "))
    story.event("a", "delta", "1-3", deltas=_delta("two"))
    story.event("a", "completed", "1-4", output=_says("one two"))
    story.line("streams", via="sse", job="a", over=True, cuts=0, frames=list(frames))


_STARTED = {"type": "started", "place": [1, 1]}
_ONE = {"type": "delta", "place": [1, 2], "deltas": _delta("one ")}
_TWO = {"type": "delta", "place": [1, 3], "deltas": _delta("two")}
_END = {"type": "completed", "place": [1, 4], "output": _says("one two")}


def test_streams_when_whole_then_kept(story: Story) -> None:
    _stream(story, _STARTED, _ONE, {"type": "cut"}, _TWO, _END)

    assert check_streams(story.evidence).is_kept


def test_streams_when_a_piece_is_missing_without_a_word_then_broken(story: Story) -> None:
    _stream(story, _STARTED, _TWO, _END)

    assert check_streams(story.evidence).is_kept is False


def test_streams_when_a_snapshot_tells_of_the_gap_then_kept(story: Story) -> None:
    snapshot = {"type": "snapshot", "place": [1, 3], "deltas": _delta("one two")}
    _stream(story, _STARTED, snapshot, _END)

    assert check_streams(story.evidence).is_kept


def test_streams_when_a_place_is_used_twice_in_the_log_then_broken(story: Story) -> None:
    story.event("b", "delta", "1-1", deltas=_delta("x"))
    story.event("b", "delta", "1-1", deltas=_delta("y"))

    assert check_streams(story.evidence).is_kept is False


@pytest.mark.parametrize(("places", "is_kept"), [((1, 3, 2), True), ((1, 3), False)])
def test_streams_when_the_log_lacks_a_place_before_the_end_then_broken(
    story: Story, *, places: tuple[int, ...], is_kept: bool
) -> None:
    for seq in places:
        story.event("b", "delta", f"1-{seq}", deltas=_delta(str(seq)))
    story.event("b", "completed", "1-4")
    story.line(
        "streams",
        via="sse",
        job="b",
        over=True,
        cuts=0,
        frames=[{"type": "completed", "place": [0, 1]}],
    )

    assert check_streams(story.evidence).is_kept is is_kept


def test_keys_when_one_key_made_two_jobs_then_broken(story: Story) -> None:
    for job in ("a", "b"):
        story.line("submits", key="k", status=202, job=job, changed=False)

    assert check_keys(story.evidence).is_kept is False
