"""A whole worker on in-memory Kafka against the fake provider."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from penstock_contracts.events import JobStatus
from penstock_kit.tasks import RetryPolicy

from tests.support.llm_worker_rig import Rig, eventually, llm_rig

SOON = RetryPolicy(base=timedelta(milliseconds=1), cap=timedelta(milliseconds=50), attempts=3)


def types(events: list[dict[str, Any]]) -> list[str]:
    """Event types, deltas left out."""
    return [event["type"] for event in events if event["type"] != "delta"]


def streamed(events: list[dict[str, Any]]) -> str:
    """What a reader has who drops everything at `reset`."""
    text = ""
    for event in events:
        if event["type"] == "reset":
            text = ""
        text += "".join(delta.get("text", "") for delta in event.get("deltas", ()))
    return text


async def test_chat_streams_and_completes_with_usage_and_cost(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        job = await rig.chat("hello")
        events = await rig.ended(job)

    started, *_, completed = events
    assert started["type"] == "started"
    assert (started["model"], started["provider"], started["worker"]) == (
        "fake",
        "fake",
        "worker-1",
    )
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert completed["type"] == "completed"
    text = completed["output"]["choices"][0]["text"]
    assert text == streamed(events) == "alf bra cha del ech "
    assert completed["usage"]["output_tokens"] == 5
    assert completed["usage"]["cost_usd"] == "7"
    assert rig.server.journal.lines[0]["job"] == job


@pytest.mark.parametrize("cut", ["", "cut=3;times=1;"], ids=["at once", "at the second try"])
async def test_job_that_nobody_follows_has_no_deltas_and_its_whole_output(
    tmp_path: Path, cut: str
) -> None:
    async with llm_rig(tmp_path, retry=SOON) as rig:
        job = await rig.chat(f"go [[{cut}tokens=500;rate=2000]]", streamed=False)
        events = await rig.ended(job)

    kinds = ["started", "retrying", "started"] if cut else ["started"]
    assert [event["type"] for event in events] == [*kinds, "completed"]
    assert len(events[-1]["output"]["choices"][0]["text"].split()) == 500
    assert events[-1]["usage"]["output_tokens"] == (503 if cut else 500)


async def test_model_without_price_has_unknown_cost(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await rig.chat("hello", model="free"))

    assert events[-1]["usage"]["cost_usd"] is None


async def test_fast_stream_is_coalesced_and_loses_nothing(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await rig.chat("go [[tokens=500]]"))

    deltas = [event for event in events if event["type"] == "delta"]
    assert len(deltas) <= 500 / 64 + 10
    assert streamed(events) == events[-1]["output"]["choices"][0]["text"]


async def test_tokens_larger_than_an_event_are_cut_into_several(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await rig.chat("go [[huge_bytes=200000;tokens=1]]"))

    assert types(events) == ["started", "completed"]
    assert len(streamed(events)) == 200_004


async def test_rate_limit_then_success_is_one_retry(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, retry=SOON) as rig:
        events = await rig.ended(await rig.chat("go [[status=429;retry_after=0.02;times=1]]"))

    assert types(events) == ["started", "retrying", "started", "completed"]
    assert events[1]["error"]["code"] == "provider_rate_limited"
    assert events[1]["delay_s"] >= 0.02
    assert [event["attempt"] for event in events[:3]] == [1, 1, 2]
    assert events[-1]["usage"]["output_tokens"] == 5


async def test_cut_stream_is_reset_and_both_calls_are_booked(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, retry=SOON) as rig:
        events = await rig.ended(await rig.chat("go [[cut=3;times=1;rate=500]]"))

    assert types(events) == ["started", "retrying", "started", "reset", "completed"]
    assert streamed(events) == "alf bra cha del ech "
    assert events[-1]["usage"]["output_tokens"] == 8
    assert events[-1]["usage"]["estimated"] is True


async def test_attempts_used_up_is_failed_with_the_reason(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, retry=SOON) as rig:
        events = await rig.ended(await rig.chat("go [[status=500]]"))

    assert types(events) == [
        *(["started", "retrying"] * 2),
        "started",
        "failed",
    ]
    assert events[-1]["error"]["code"] == "provider_failed"
    assert events[-1]["error"]["provider_status"] == 500
    [dead] = rig.dead()
    assert (dead["penstock_dead_reason"], dead["penstock_dead_attempts"]) == ("failure", "3")


async def test_permanent_fault_falls_back_to_the_next_model(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await rig.chat("go", model="chained"))

    assert types(events) == ["started", "retrying", "started", "completed"]
    assert events[-1]["model"] == "second"


async def test_at_most_once_is_never_called_again_after_a_charge(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, retry=SOON) as rig:
        cut = await rig.ended(await rig.chat("a [[cut=3]]", charge="at_most_once"))
        limited = await rig.ended(await rig.chat("b [[status=429;times=1]]", charge="at_most_once"))
        failed = await rig.ended(await rig.chat("c [[status=500;times=1]]", charge="at_most_once"))

    assert types(cut) == types(failed) == ["started", "failed"]
    assert not failed[-1]["usage"].get("output_tokens"), "nobody knows what it cost: not booked"
    assert types(limited) == ["started", "retrying", "started", "completed"]


async def test_lost_outcome_is_told_and_not_called(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        rig.ledger.lost.add(rig.next_job())
        events = await rig.ended(await rig.chat("go", charge="at_most_once"))

    assert types(events) == ["unknown_outcome"]
    assert rig.server.journal.calls == 0


async def test_passed_deadline_expires_without_a_call(tmp_path: Path) -> None:
    past = (datetime.now(timezone.utc) - timedelta(seconds=1)).isoformat()

    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await rig.chat("go", deadline=past))

    assert types(events) == ["expired"]
    assert rig.server.journal.calls == 0


async def test_cancel_of_a_running_call_reaches_the_socket_and_books_tokens(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path) as rig:
        job = await rig.chat("go [[tokens=10000;rate=100]]")
        await eventually(lambda: len(rig.events(job)) >= 3)
        asked_at = datetime.now(timezone.utc).timestamp()
        rig.board.cancel(job)
        events = await rig.ended(job)
        await eventually(lambda: not rig.server.journal.running)

    ended = rig.server.journal.lines[-1]
    assert ended["how"] == "aborted"
    assert ended["at"] - asked_at < 0.25
    assert events[-1]["type"] == "cancelled"
    assert (events[-1]["by"], events[-1]["was_running"]) == ("ada", True)
    assert events[-1]["usage"]["output_tokens"] == len(streamed(events)) / 4
    assert events[-1]["usage"]["estimated"] is True
    assert rig.ledger.ended[job] is JobStatus.CANCELLED


async def test_cancel_between_attempts_ends_the_job(tmp_path: Path) -> None:
    retry = RetryPolicy(base=timedelta(minutes=5))

    async with llm_rig(tmp_path, retry=retry) as rig:
        job = await rig.chat("go [[status=500]]")
        await eventually(lambda: "retrying" in types(rig.events(job)))
        rig.board.cancel(job)
        events = await rig.ended(job)

    assert types(events) == ["started", "retrying", "cancelled"]
    assert [event["attempt"] for event in events] == [1, 1, 2]


async def test_cancel_of_a_waiting_job_is_free_and_at_once(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, max_in_flight=1) as rig:
        running = await rig.chat("go [[tokens=10000;rate=100]]")
        await eventually(lambda: rig.server.journal.running)
        waiting = await rig.chat("next")
        await eventually(lambda: rig.worker.lanes.stats.queued == 1)
        rig.board.cancel(waiting)
        events = await rig.ended(waiting)
        rig.board.cancel(running)
        await rig.ended(running)

    assert types(events) == ["cancelled"]
    assert events[0]["was_running"] is False
    assert rig.server.journal.calls == 1


async def test_foreign_tenant_cannot_cancel(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        job = await rig.chat("go [[tokens=50;rate=200]]")
        await eventually(lambda: rig.events(job))
        rig.board.cancel(job, tenant="mallory")
        events = await rig.ended(job)

    assert types(events) == ["started", "completed"]


async def test_drain_sends_a_job_between_attempts_back(tmp_path: Path) -> None:
    retry = RetryPolicy(base=timedelta(minutes=5))

    async with llm_rig(tmp_path, retry=retry) as rig:
        job = await rig.chat("go [[status=500]]")
        await eventually(lambda: "retrying" in types(rig.events(job)))

    assert job in rig.ledger.released
    assert types(rig.events(job)) == ["started", "retrying"]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"task": "nope", "input": {"messages": []}}, "unknown_task", "task"),
        ({"task": "chat", "input": {"messages": []}}, "invalid_input", "input.messages"),
        ({"task": "chat", "input": {"text": "x"}}, "invalid_input", "input.messages"),
        ({"task": "chat", "model": "gone"}, "unknown_model", "model"),
        ({"task": "chat", "frob": 1}, "schema_mismatch", "frob"),
        (
            {"task": "generate", "input": {"template": "gone"}},
            "unknown_template",
            "input.template",
        ),
        (
            {"task": "generate", "input": {"template": "greet"}},
            "missing_variable",
            "input.variables.name",
        ),
        (
            {
                "task": "generate",
                "input": {"template": "greet", "variables": {"name": "A", "frob": "B"}},
            },
            "unknown_variable",
            "input.variables.frob",
        ),
        (
            {
                "task": "generate",
                "input": {"prompt": "x", "format": "json", "json_schema": {"type": "nope"}},
            },
            "bad_json_schema",
            "input.json_schema",
        ),
    ],
)
async def test_bad_input_of_a_verified_tenant_fails_and_is_dead_lettered(
    tmp_path: Path, body: dict[str, Any], code: str, param: str
) -> None:
    good = {"input": {"messages": [{"role": "user", "content": "hi"}]}}

    async with llm_rig(tmp_path, templates={"greet": "Greet {{name}}."}) as rig:
        job = await rig.submit(**{**good, **body})
        events = await rig.ended(job)
        await eventually(rig.dead)
        after = await rig.ended(await rig.chat("still here?"))

    assert types(events) == ["failed"]
    assert (events[0]["error"]["code"], events[0]["error"]["param"]) == (code, param)
    [dead] = rig.dead()
    assert (dead["penstock_dead_reason"], dead["penstock_dead_code"]) == ("poison", code)
    assert types(after) == ["started", "completed"]


async def test_template_is_filled_literally(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, templates={"greet": "Say {{name}} [[echo=1]]"}) as rig:
        job = await rig.submit(
            task="generate", input={"template": "greet", "variables": {"name": "{{name}}"}}
        )
        events = await rig.ended(job)

    assert events[-1]["output"]["text"] == "Say {{name}} [[echo=1]]"
    assert events[-1]["output"]["format"] == "text"


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.mark.parametrize("script", ["valid", "fenced"])
async def test_json_is_parsed_without_its_fence(tmp_path: Path, script: str) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await ask_json(rig, script))

    assert types(events) == ["started", "completed"]
    assert events[-1]["output"]["value"] == {"name": "Ada", "age": 36}


async def test_invalid_json_is_repaired_once(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await ask_json(rig, "second"))

    assert types(events) == ["started", "retrying", "started", "reset", "completed"]
    assert [event["reason"] for event in events if event["type"] == "reset"] == ["repair"]
    assert events[-1]["output"]["value"] == {"name": "Ada", "age": 36}
    assert streamed(events) == events[-1]["output"]["text"]


@pytest.mark.parametrize(
    ("script", "code"), [("invalid", "answer_not_json"), ("mismatch", "answer_breaks_schema")]
)
async def test_json_that_stays_bad_fails_after_one_repair(
    tmp_path: Path, script: str, code: str
) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await ask_json(rig, script))

    assert events[-1]["type"] == "failed"
    assert events[-1]["error"]["code"] == code
    assert rig.server.journal.calls == 2


async def ask_json(rig: Rig, script: str) -> str:
    """Submit a generate job whose JSON answers are scripted, in all its calls."""
    return await rig.submit(
        task="generate",
        model=f"json-{script}",
        input={"prompt": "who?", "format": "json", "json_schema": SCHEMA},
    )


async def test_conversation_goes_on_with_the_last_messages(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        for turn in range(7):
            await rig.ended(await rig.chat(f"turn {turn}", conversation="c1", key="c1"))
        state = rig.conversations.states["acme", "c1"]
        other = await rig.ended(await rig.chat("x", conversation="c1", tenant="other"))

    assert state.turn == 7
    assert len(state.messages) == 10
    assert [m.content for m in state.messages if m.role == "user"] == [
        f"turn {turn}" for turn in range(2, 7)
    ]
    assert other[-1]["usage"]["input_tokens"] == 1


async def test_repeated_job_replaces_its_turn(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        await rig.ended(await rig.chat("one", conversation="c1", key="c1"))
        job = await rig.chat("two", conversation="c1", key="c1")
        await rig.ended(job)
        await eventually(lambda: job in rig.ledger.ended)
        del rig.ledger.ended[job]
        record = rig.kafka.records("ai.chat.requests.v1")
        again = next(r for r in record if b'"two"' in (r.value or b""))
        await rig.resend(again)
        await eventually(lambda: len(rig.completions(job)) == 2)
        await eventually(lambda: job in rig.ledger.ended)

    state = rig.conversations.states["acme", "c1"]
    assert state.turn == 2
    assert [m.content for m in state.messages if m.role == "user"] == ["one", "two"]
    assert rig.events(job)[-1]["attempt"] == 2


@pytest.mark.parametrize(
    "script", ["hang=0", "cut=0", "malformed=1", "flood_bytes=50000000", "line_bytes=20000000"]
)
async def test_worker_survives_what_a_provider_does(tmp_path: Path, script: str) -> None:
    async with llm_rig(
        tmp_path,
        retry=RetryPolicy(attempts=1),
        first_token_timeout="PT0.3S",
        max_response_bytes=1_000_000,
    ) as rig:
        bad = await rig.ended(await rig.chat(f"go [[{script}]]"))
        rig.server.defaults = rig.server.defaults.with_directives("tokens=2")
        await eventually(lambda: not rig.server.journal.running)

    assert types(bad) == ["started", "failed"]


async def test_two_hundred_streams_at_once_all_complete(tmp_path: Path) -> None:
    async with llm_rig(tmp_path, max_in_flight=256) as rig:
        jobs = [await rig.chat(f"{n} [[tokens=20;rate=100]]") for n in range(200)]
        ended = [await rig.ended(job, within_s=60) for job in jobs]

    assert {events[-1]["type"] for events in ended} == {"completed"}
    assert rig.server.journal.calls == 200
