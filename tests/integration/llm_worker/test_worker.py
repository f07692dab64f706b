"""A whole worker on in-memory Kafka against the fake provider."""

from __future__ import annotations

from pathlib import Path

from tests.support.llm_worker_rig import llm_rig


async def test_chat_streams_and_completes_with_usage_and_cost(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        job = await rig.chat("hello")

        events = await rig.ended(job)

    started, *deltas, completed = events
    assert started["type"] == "started"
    assert (started["model"], started["provider"], started["worker"]) == (
        "fake",
        "fake",
        "worker-1",
    )
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    streamed = "".join(delta["text"] for event in deltas for delta in event["deltas"])
    assert completed["type"] == "completed"
    assert completed["output"]["choices"][0]["text"] == streamed == "alf bra cha del ech "
    assert completed["usage"]["output_tokens"] == 5
    assert completed["usage"]["cost_usd"] == "7"
    assert rig.server.journal.lines[0]["job"] == job
