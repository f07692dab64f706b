"""Jobs that have to be over at an instant (`ends_by`): what ends them, and what they cost."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from penstock_contracts.events import JobStatus
from penstock_kit.tasks import RetryPolicy

from tests.support.llm_worker_rig import eventually, llm_rig

LATER = RetryPolicy(attempts=3, base=timedelta(minutes=5))


def types(events: list[dict[str, Any]]) -> list[str]:
    """Event types, deltas left out."""
    return [event["type"] for event in events if event["type"] != "delta"]


def in_seconds(seconds: float) -> str:
    """An instant from now."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


async def test_running_job_is_cut_off_at_the_socket_and_books_what_was_used(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path) as rig:
        job = await rig.chat("go [[tokens=10000;rate=100]]", ends_by=in_seconds(1))
        events = await rig.ended(job)
        await eventually(lambda: not rig.server.journal.running)

    assert rig.server.journal.lines[-1]["how"] == "aborted"
    assert (types(events)[0], types(events)[-1]) == ("started", "cancelled")
    assert (events[-1]["by"], events[-1]["was_running"]) == ("cancel_after", True)
    shown = "".join(d.get("text", "") for event in events for d in event.get("deltas", ()))
    assert events[-1]["usage"]["output_tokens"] == len(shown) / 4 > 0
    assert rig.ledger.ended[job] is JobStatus.CANCELLED


async def test_job_that_is_over_in_time_completes(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await rig.chat("go", ends_by=in_seconds(60)))

    assert types(events) == ["started", "completed"]


async def test_job_that_nobody_began_in_time_expires_without_a_call(tmp_path: Path) -> None:
    past = in_seconds(-1)

    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await rig.chat("go", ends_by=past, deadline=in_seconds(60)))

    assert types(events) == ["expired"]
    assert events[0]["deadline"][:22] == past[:22]
    assert rig.server.journal.calls == 0


async def test_job_that_waits_for_a_place_at_the_provider_too_long_expires_free(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path, max_concurrency=1) as rig:
        busy = await rig.chat("first [[tokens=10000;rate=100]]")
        await eventually(lambda: rig.server.journal.running)
        events = await rig.ended(await rig.chat("second", ends_by=in_seconds(0.2)))
        rig.board.cancel(busy)
        await rig.ended(busy)

    assert types(events) == ["started", "expired"]
    assert rig.server.journal.calls == 1


async def test_pause_beyond_the_end_fails_the_job_now_though_it_has_shown_output(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path, retry=LATER) as rig:
        events = await rig.ended(await rig.chat("go [[cut=3]]", ends_by=in_seconds(60)))

    assert types(events) == ["started", "failed"]
    assert events[-1]["error"]["code"] == "provider_stream_cut"
    assert "ends_by" in events[-1]["error"]["message"]
    assert events[-1]["usage"]["output_tokens"] == 3


async def test_job_that_comes_again_too_late_is_cancelled_without_a_call(tmp_path: Path) -> None:
    """A worker died, or the next try waited longer than it should have."""
    async with llm_rig(tmp_path) as rig:
        rig.ledger.attempts[rig.next_job()] = 1
        events = await rig.ended(await rig.chat("go", ends_by=in_seconds(-1)))

    assert types(events) == ["cancelled"]
    assert (events[0]["by"], events[0]["was_running"]) == ("cancel_after", True)
    assert events[0]["attempt"] == 2
    assert rig.server.journal.calls == 0


async def test_attempt_that_follows_at_once_is_cut_off_at_the_same_instant(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path) as rig:
        asked = "go [[tokens=10000;rate=100]]"
        job = await rig.chat(asked, model="chained", ends_by=in_seconds(1))
        events = await rig.ended(job)

    assert types(events)[:3] == ["started", "retrying", "started"]
    assert (types(events)[-1], events[-1]["by"]) == ("cancelled", "cancel_after")
    assert events[-1]["attempt"] == 2
