"""Failed attempts of a whole worker: when, where and how often they are tried again."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from llm_worker.handlers import LlmWork
from penstock_contracts.events import JobStatus
from penstock_contracts.retries import read_retry_note
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.intake import Intake
from penstock_kit.jobs import job_delivery
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.tasks import RetryPolicy

from tests.support.llm_worker_rig import TIERS, Rig, eventually, llm_rig

QUICK = RetryPolicy(
    attempts=3, base=timedelta(milliseconds=100), cap=timedelta(seconds=2), jitter=(1, 1)
)
LATER = RetryPolicy(attempts=3, base=timedelta(minutes=5))
GOOD: dict[str, Any] = {"input": {"messages": [{"role": "user", "content": "hi"}]}}
BODIES: dict[str, dict[str, Any]] = {
    "refused": {**GOOD, "frob": 1},
    "unreadable": {"input": {"text": "x"}},
}


def types(events: list[dict[str, Any]]) -> list[str]:
    """Event types, deltas left out."""
    return [event["type"] for event in events if event["type"] != "delta"]


def waits(rig: Rig, job: str) -> list[float]:
    """Seconds between the provider's log of each failure of a job and of its next call."""
    calls = [line for line in rig.server.journal.lines if line.get("job") == job]
    return [later["at"] - earlier["at"] for earlier, later in pairwise(calls)]


async def test_limits_and_failures_are_tried_again_at_the_right_times(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, retry=QUICK) as rig:
        limited = await rig.chat("a [[status=429;retry_after=0.7;times=1]]")
        broken = await rig.chat("b [[status=500;times=2]]")
        limited_events, broken_events = await rig.ended(limited), await rig.ended(broken)

    assert types(limited_events) == ["started", "retrying", "started", "completed"]
    assert types(broken_events) == [*(["started", "retrying"] * 2), "started", "completed"]
    assert 0.7 <= limited_events[1]["delay_s"] < 0.75
    first, second = waits(rig, broken)[:2]
    assert waits(rig, limited)[0] >= 0.7
    assert 0.1 <= first < 1.1
    assert 0.2 <= second < 1.2
    assert rig.ledger.made[broken] == [0, 1, 2]
    assert [event["attempt"] for event in broken_events if event["type"] == "started"] == [1, 2, 3]


async def test_usage_is_summed_over_all_deliveries(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, retry=QUICK) as rig:
        events = await rig.ended(await rig.chat("go [[cut=3;times=2;rate=500]]"))

    assert events[-1]["type"] == "completed"
    assert events[-1]["attempt"] == 3
    assert events[-1]["usage"]["output_tokens"] == 3 + 3 + 5
    assert types(events)[-3:] == ["started", "reset", "completed"]


async def test_waiting_record_is_in_its_tier_with_a_note_and_blocks_nothing(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path, retry=LATER, max_in_flight=1) as rig:
        job = await rig.chat("go [[status=500;times=1]]")
        await eventually(lambda: rig.worker.lanes.stats.held == 1)
        others = [await rig.ended(await rig.chat(f"other {n}")) for n in range(3)]
        [record] = [r for r in rig.kafka.records(TIERS[-1].topic) if r.key == job.encode()]

    note = read_retry_note(record.headers)
    assert note is not None
    assert (note.source, note.failures) == ("ai.chat.requests.v1", 1)
    assert {events[-1]["type"] for events in others} == {"completed"}
    assert types(rig.events(job)) == ["started", "retrying"]


async def test_conversation_waits_in_place_so_that_its_turns_keep_their_order(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path, retry=QUICK) as rig:
        first = await rig.chat("one [[status=500;times=1]]", conversation="c1", key="c1")
        second = await rig.chat("two", conversation="c1", key="c1")
        await rig.ended(first)
        await rig.ended(second)
        state = rig.conversations.states["acme", "c1"]
        retried = [record for tier in TIERS for record in rig.kafka.records(tier.topic)]

    assert [str(m.content)[:3] for m in state.messages if m.role == "user"] == ["one", "two"]
    assert retried == []


async def test_exhausted_job_fails_and_is_dead_lettered_with_the_providers_answer(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path, retry=QUICK) as rig:
        job = await rig.chat("go [[status=503]]")
        events = await rig.ended(job)
        await eventually(rig.dead)
        [letter] = rig.kafka.records("ai.dead.v1")

    assert types(events)[-1] == "failed"
    [dead] = rig.dead()
    assert (dead["penstock_dead_reason"], dead["penstock_dead_code"]) == (
        "failure",
        "provider_failed",
    )
    assert dead["penstock_dead_attempts"] == "3"
    assert dead["penstock_dead_topic"] == "ai.chat.requests.v1"
    assert '"error"' in dead["penstock_dead_answer"]
    [original] = [r for r in rig.kafka.records("ai.chat.requests.v1") if r.key == job.encode()]
    assert (letter.key, letter.value) == (original.key, original.value)
    assert not any(name.startswith("penstock_retry_") for name, _ in letter.headers)


@pytest.mark.parametrize(
    ("status", "is_dead"), [(401, True), (403, True), (404, True), (400, False), (413, False)]
)
async def test_permanent_refusal_is_dead_lettered_only_if_the_operator_can_mend_it(
    tmp_path: Path, status: int, *, is_dead: bool
) -> None:
    async with llm_rig(tmp_path, retry=QUICK) as rig:
        events = await rig.ended(await rig.chat(f"go [[status={status}]]"))
        await rig.ended(await rig.chat("afterwards"))

    assert types(events) == ["started", "failed"]
    assert len(rig.dead()) == is_dead


async def test_start_after_crashes_tells_their_count(tmp_path: Path) -> None:
    """Redis may lose the ledger: the log remembers."""
    async with llm_rig(tmp_path) as rig:
        rig.ledger.crashes[rig.next_job()] = 2
        after_two = await rig.ended(await rig.chat("go"))
        first = await rig.ended(await rig.chat("go"))

    assert [events[0].get("crashes") for events in (after_two, first)] == [2, None]


async def test_job_that_crashed_three_workers_is_not_run_again(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        rig.ledger.crashes[rig.next_job()] = 3
        events = await rig.ended(await rig.chat("boom"))
        await eventually(rig.dead)

    assert types(events) == ["failed"]
    assert events[0]["error"]["code"] == "poison_crash"
    [dead] = rig.dead()
    assert (dead["penstock_dead_reason"], dead["penstock_dead_code"]) == ("poison", "poison_crash")
    assert rig.server.journal.calls == 0


async def test_cancel_of_a_job_in_a_retry_topic_is_at_once_and_books_what_was_used(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path, retry=LATER) as rig:
        job = await rig.chat("go [[cut=3]]")
        await eventually(lambda: rig.worker.lanes.stats.held == 1)
        rig.board.cancel(job)
        events = await rig.ended(job)

    assert types(events) == ["started", "retrying", "cancelled"]
    assert (events[-1]["was_running"], events[-1]["attempt"]) == (True, 2)
    assert events[-1]["usage"]["output_tokens"] == 3
    assert rig.server.journal.calls == 1


async def test_job_that_is_refused_at_a_later_attempt_fails_under_the_next_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers have seen the first attempt, and would drop an end that belongs to it."""

    def refuse(*_: object) -> None:
        raise Rejected("the task is gone", code="unknown_task", field="task")

    async with llm_rig(tmp_path, retry=QUICK) as rig:
        job = await rig.chat("go [[status=500]]")
        await eventually(lambda: job in rig.ledger.released)
        monkeypatch.setattr(Intake, "_task_type", refuse)
        events = await rig.ended(job)
        await eventually(rig.dead)

    assert types(events) == ["started", "retrying", "failed"]
    assert (events[-1]["attempt"], events[-1]["error"]["code"]) == (2, "unknown_task")
    assert rig.ledger.ended[job] is JobStatus.FAILED


@pytest.mark.parametrize(
    ("why", "end"),
    [
        ("refused", "failed"),
        ("unreadable", "failed"),
        ("poison", "failed"),
        ("lost", "unknown_outcome"),
    ],
)
async def test_end_without_a_call_that_cannot_be_told_lets_the_job_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str, end: str
) -> None:
    """Whoever gets the record next must not wait for a lease that is renewed for ever."""
    emit = JobEmitter._emit

    async def be_away(*_: object) -> None:
        monkeypatch.setattr(JobEmitter, "_emit", emit)
        raise Retryable("the broker is away", retry_after_s=0.01)

    monkeypatch.setattr(JobEmitter, "_emit", be_away)
    async with llm_rig(tmp_path) as rig:
        if why == "poison":
            rig.ledger.crashes[rig.next_job()] = 3
        if why == "lost":
            rig.ledger.lost.add(rig.next_job())
        job = await rig.submit(**BODIES.get(why, GOOD))
        events = await rig.ended(job)

    assert rig.ledger.released == [job]
    assert job not in rig.ledger.retries_in, "what an earlier attempt did stays uncertain"
    assert [(event["type"], event["attempt"]) for event in events] == [(end, 2)]


async def test_cancel_of_a_turn_that_rests_lets_its_conversation_go_on_at_once(
    tmp_path: Path,
) -> None:
    turn: dict[str, Any] = {"conversation": "conv-1", "key": "conv-1"}
    async with llm_rig(tmp_path, retry=LATER) as rig:
        resting = await rig.chat("a [[status=500]]", **turn)
        behind = await rig.chat("b", **turn)
        await eventually(lambda: rig.worker.lanes.stats.resting == 1)
        rig.board.cancel(resting)
        events, after = await rig.ended(resting), await rig.ended(behind)

    assert types(events) == ["started", "retrying", "cancelled"]
    assert types(after) == ["started", "completed"]


async def test_deadline_before_the_next_try_fails_the_job_now(tmp_path: Path) -> None:
    soon = (datetime.now(timezone.utc) + timedelta(seconds=60)).isoformat()

    async with llm_rig(tmp_path, retry=LATER) as rig:
        silent = await rig.ended(await rig.chat("a [[status=500]]", deadline=soon))
        shown = await rig.chat("b [[cut=3]]", deadline=soon)
        await eventually(lambda: rig.worker.lanes.stats.held == 1)

    assert types(silent) == ["started", "failed"]
    assert silent[-1]["error"]["code"] == "provider_failed"
    assert "deadline" in silent[-1]["error"]["message"]
    assert types(rig.events(shown)) == ["started", "retrying"], "what was shown is worth going on"


async def test_deadline_that_passes_while_the_provider_is_full_expires_without_a_call(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path, max_concurrency=1) as rig:
        busy = await rig.chat("first [[tokens=20;rate=40]]")
        await eventually(lambda: rig.server.journal.running)
        soon = (datetime.now(timezone.utc) + timedelta(milliseconds=100)).isoformat()
        events = await rig.ended(await rig.chat("second", deadline=soon))
        await rig.ended(busy)

    assert types(events) == ["started", "expired"]
    assert rig.server.journal.calls == 1


@pytest.mark.parametrize("script", ["hang=0", "end=3", "cut=2", "malformed=1"])
async def test_provider_that_hangs_or_half_streams_is_tried_again_and_then_answers(
    tmp_path: Path, script: str
) -> None:
    async with llm_rig(tmp_path, retry=QUICK, first_token_timeout="PT0.3S") as rig:
        events = await rig.ended(await rig.chat(f"go [[{script};times=1;rate=500]]"))

    assert events[-1]["type"] == "completed"
    assert events[-1]["attempt"] == 2
    assert events[-1]["output"]["choices"][0]["text"] == "alf bra cha del ech "


async def test_provider_that_floods_fails_the_job_and_is_not_called_again(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, retry=QUICK, max_response_bytes=1_000_000) as rig:
        events = await rig.ended(await rig.chat("go [[flood_bytes=50000000]]"))

    assert types(events) == ["started", "failed"]
    assert events[-1]["error"]["code"] == "response_too_large"
    assert rig.server.journal.calls == 1


@pytest.mark.parametrize("where", ["prepare", "run"])
async def test_surprise_is_tried_again_and_then_told_and_dead_lettered(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of our own, wherever it happens, ends nobody's job in silence."""

    async def break_down(*_: object) -> None:
        raise KeyError("secret prompt")

    monkeypatch.setattr(LlmWork, where, break_down)
    monkeypatch.setattr(job_delivery, "_soon", lambda *_: timedelta(milliseconds=50))
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await rig.chat("go"))
        await eventually(rig.dead)

    assert types(events) == [*(["retrying"] * 2 if where == "run" else []), "failed"]
    assert events[-1]["error"]["code"] == "internal_error"
    assert rig.server.journal.calls == 0
    [dead] = rig.dead()
    assert (dead["penstock_dead_reason"], dead["penstock_dead_detail"]) == ("failure", "KeyError")


async def test_answer_without_a_choice_is_tried_again(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, retry=QUICK) as rig:
        once, always = await rig.chat("a [[mute=1;times=1]]"), await rig.chat("b [[mute=1]]")
        events, failed = await rig.ended(once), await rig.ended(always)

    assert types(events) == ["started", "retrying", "started", "completed"]
    assert events[1]["error"]["code"] == "answer_empty"
    assert failed[-1]["type"] == "failed"
    assert failed[-1]["error"]["code"] == "answer_empty"
