"""A cancelled batch: what its owner reads from then on, wherever the batch is just then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from gateway.openai.batches.waiting import WaitingBatches
from penstock_contracts.events import Cancelled
from penstock_contracts.topics import BATCH_REQUESTS
from penstock_kit.control import Cancel
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Dead, Delivery, Done

from tests.support.batches import BatchBench, chat_line, delivery
from tests.support.gateway import MemoryFiles, Reply, make_bench
from tests.support.waiting import eventually, until


async def bench(**gateway: Any) -> BatchBench:
    return BatchBench(await make_bench(**gateway))


async def cancel(batches: BatchBench, batch: str) -> Reply:
    return await batches.gateway.call("POST", f"/v1/batches/{batch}/cancel")


def hear_of(batches: BatchBench, batch: str) -> None:
    """Let the gateway that runs batches read the cancel."""
    job = "job_" + batch.removeprefix("batch_")
    batches.cancels.asked.add(job)
    for callback in batches.cancels.callbacks:
        callback(Cancel(job, "acme", "ann", batches.gateway.clock.now()))


class Lanes:
    """Records that wait for their turn."""

    def __init__(self, records: list[Record]) -> None:
        self.waiting = records
        self.finished: list[Done | Dead] = []

    async def withdraw(self, match: Callable[[Record], bool]) -> list[Delivery]:
        taken = [record for record in self.waiting if match(record)]
        self.waiting = [record for record in self.waiting if record not in taken]
        return [delivery(record) for record in taken]

    def finish(self, delivery: Delivery, outcome: Done | Dead) -> None:
        del delivery
        self.finished.append(outcome)


@asynccontextmanager
async def waiting(batches: BatchBench) -> AsyncIterator[Lanes]:
    """Every batch that was asked for waits; none has its turn while this is open."""
    lanes = Lanes(batches.gateway.kafka.records(BATCH_REQUESTS.name))
    part = WaitingBatches(
        lanes,
        batches.handler,
        cancels=batches.cancels,
        clock=batches.gateway.clock,
        every=timedelta(milliseconds=5),
    )
    await part.start()
    try:
        yield lanes
    finally:
        await part.stop()


async def test_batch_when_cancelled_then_nobody_reads_an_earlier_state_again() -> None:
    """Whoever runs it has not heard of it, may write counts meanwhile, and may be dead."""
    batches = await bench()
    batch = await batches.batch(chat_line("a"))
    other = await batches.batch(chat_line("b"))

    answered = await cancel(batches, batch)
    found = await batches.look(batch)
    listed = await batches.gateway.call("GET", "/v1/batches")
    again = await cancel(batches, batch)

    assert found["status"] == answered.json["status"] == again.json["status"] == "cancelling"
    assert found["cancelling_at"] == answered.json["cancelling_at"]
    states = {entry["id"]: entry["status"] for entry in listed.json["data"]}
    assert states == {batch: "cancelling", other: "validating"}
    assert len(batches.cancels_written()) == 1


async def test_batch_when_cancelled_while_it_is_looked_through_then_no_line_begins() -> None:
    batches = await bench()
    batch = await batches.batch(*(chat_line(str(number), "x" * 500) for number in range(40)))
    contents = batches.gateway.stores.contents
    assert isinstance(contents, MemoryFiles)
    contents.is_away = True
    running = asyncio.create_task(batches.run())
    await until(lambda: contents.refusals)

    await cancel(batches, batch)
    hear_of(batches, batch)
    contents.is_away = False
    await running

    state = await batches.look(batch)
    assert (state["status"], state["in_progress_at"], state["errors"]) == ("cancelled", None, None)
    assert state["request_counts"] == {"total": 40, "completed": 0, "failed": 40}
    lines = await batches.content(state["error_file_id"])
    assert {line["error"]["code"] for line in lines} == {"batch_cancelled"}
    assert batches.written() == []
    types = [event.type for event in batches.events()]
    assert types == ["batch.cancelling", *["batch.line.failed"] * 40, "batch.cancelled"]


async def test_batch_when_cancelled_and_its_file_is_unusable_then_cancelled_without_files() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"), chat_line("a"))
    hear_of(batches, batch)

    await batches.run()

    state = await batches.look(batch)
    assert (state["status"], state["error_file_id"]) == ("cancelled", None)


async def test_batch_when_cancelled_before_its_turn_then_it_ends_without_one() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"))
    other = await batches.batch(chat_line("b"))

    async with waiting(batches) as lanes:
        await cancel(batches, batch)
        hear_of(batches, batch)
        await until(lambda: lanes.finished)

        assert (await batches.look(batch))["status"] == "cancelled"
        assert (await batches.look(other))["status"] == "validating"
        assert (lanes.finished, len(lanes.waiting)) == ([Done()], 1)


async def test_batch_when_read_after_its_cancel_then_it_ends_without_its_turn() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"))
    batches.cancels.asked.add("job_" + batch.removeprefix("batch_"))

    async with waiting(batches) as lanes:
        await until(lambda: lanes.finished)

    assert (await batches.look(batch))["status"] == "cancelled"


async def test_batch_when_out_of_time_before_its_turn_then_every_line_is_in_its_error_file() -> (
    None
):
    batches = await bench()
    batch = await batches.batch(chat_line("a"), chat_line("b"))

    async with waiting(batches) as lanes:
        batches.gateway.clock.advance(timedelta(hours=25))
        await until(lambda: lanes.finished)

    state = await batches.look(batch)
    assert state["status"] == "expired"
    lines = await batches.content(state["error_file_id"])
    assert [line["error"]["code"] for line in lines] == ["batch_expired", "batch_expired"]
    assert batches.written() == []


async def test_record_when_it_is_no_batch_then_it_waits_for_its_turn() -> None:
    """The lanes dead-letter it, with everything that they know of it."""
    batches = await bench()
    batch = await batches.batch(chat_line("a"))
    async with waiting(batches) as lanes:
        lanes.waiting = [replace(lanes.waiting[0], value=b"{")]
        hear_of(batches, batch)

        assert len(lanes.waiting) == 1


async def test_cancel_when_lines_have_all_ended_then_409() -> None:
    batches = await bench(batch_window=16)
    batch = await batches.batch(*(chat_line(str(number)) for number in range(3)))
    contents = batches.gateway.stores.contents
    assert isinstance(contents, MemoryFiles)
    running = asyncio.create_task(batches.run())
    await batches.until_written(3)
    contents.is_away = True  # so the output cannot be stored

    async def finalizing() -> bool:
        return bool((await batches.look(batch))["status"] == "finalizing")

    async with batches.worker():
        await eventually(finalizing)
        reply = await cancel(batches, batch)
        contents.is_away = False
        await running

    assert (reply.status, reply.code) == (409, "batch_is_over")
    assert (await batches.look(batch))["status"] == "completed"


@pytest.mark.parametrize("hears", [True, False])
async def test_cancel_when_lines_run_then_states_never_go_back(hears: bool) -> None:
    batches = await bench(batch_window=16)
    batch = await batches.batch(*(chat_line(str(number)) for number in range(20)))
    running = asyncio.create_task(batches.run())
    jobs = await batches.until_written(16)
    seen = [(await batches.look(batch))["status"]]

    seen.append((await cancel(batches, batch)).json["status"])
    if hears:
        hear_of(batches, batch)
    seen.append((await batches.look(batch))["status"])
    hear_of(batches, batch)
    for job in jobs:
        batches.feed(Cancelled(job=job, attempt=0, seq=2, at=batches.gateway.clock.now()))
    await running
    seen.append((await batches.look(batch))["status"])

    assert seen == ["in_progress", "cancelling", "cancelling", "cancelled"]
