"""What becomes of a batch whose gateway, file or stores leave it in the middle."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from penstock_contracts.batches import BatchState, BatchStatus
from penstock_contracts.codec import decode_model
from penstock_contracts.events import Cancelled, JobStatus
from penstock_contracts.files import FileRecord
from penstock_contracts.ids import JobIds
from penstock_contracts.parts import ChatOutput, Choice
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest, Surface
from penstock_contracts.topics import BATCHES, FILES
from penstock_kit.batches.records import shelved_batch
from penstock_kit.batches.shelf import Shelved
from penstock_kit.errors import Busy

from tests.support.batches import BatchBench, chat_line, completed, jsonl
from tests.support.gateway import ID_SECRET, MemoryFiles, make_bench
from tests.support.waiting import eventually, until


async def bench(**gateway: Any) -> BatchBench:
    return BatchBench(await make_bench(**gateway))


async def left_by_its_gateway(batches: BatchBench, count: int) -> list[str]:
    """The jobs of a batch whose gateway has died once so many of its lines were under way."""
    running = asyncio.create_task(batches.run())
    jobs = await batches.until_written(count)
    for job in jobs:
        batches.feed(completed(job, "x")[0])
    batches.handler.leave()
    with pytest.raises(Busy):
        await running
    await batches.fold_events()
    return jobs


async def in_the_middle(batches: BatchBench) -> tuple[str, asyncio.Task[None], MemoryFiles]:
    """A batch of forty lines of which sixteen are under way, its run, and where its file is."""
    batch = await batches.batch(*(chat_line(str(number), "x" * 500) for number in range(40)))
    running = asyncio.create_task(batches.run())
    await batches.until_written(16)
    contents = batches.gateway.stores.contents
    assert isinstance(contents, MemoryFiles)
    return batch, running, contents


async def test_cancel_when_no_gateway_runs_the_batch_then_the_next_one_calls_its_jobs_back() -> (
    None
):
    """The jobs of the dead gateway would run on, be billed, and be reported as not executed."""
    batches = await bench(batch_window=16)
    batch = await batches.batch(*(chat_line(str(number)) for number in range(30)))
    jobs = await left_by_its_gateway(batches, 16)
    batches.cancels.asked.add("job_" + batch.removeprefix("batch_"))

    running = asyncio.create_task(batches.run(batches.new_handler()))
    await until(lambda: len(batches.cancels_written()) == 16)
    for event in completed(jobs[0], "just in time"):
        batches.feed(event)
    for job in jobs[1:]:
        batches.feed(Cancelled(job=job, attempt=1, seq=2, at=batches.gateway.clock.now()))
    await running

    assert set(batches.cancels_written()) == {f"cancel:{job}" for job in jobs}
    state = await batches.look(batch)
    assert state["status"] == "cancelled"
    assert state["request_counts"] == {"total": 30, "completed": 1, "failed": 29}
    assert len(batches.written()) == 16


async def test_input_file_when_it_vanishes_in_the_middle_then_failed_and_what_ended_is_kept() -> (
    None
):
    batches = await bench(batch_window=16)
    batch, running, contents = await in_the_middle(batches)
    contents.stored.clear()

    async with batches.worker():
        await running

    state = await batches.look(batch)
    (problem,) = state["errors"]["data"]
    assert (state["status"], problem["code"]) == ("failed", "input_file_gone")
    ended = state["request_counts"]["completed"]
    assert 16 <= ended < 40
    assert len(await batches.content(state["output_file_id"])) == ended
    assert [event.type for event in batches.events()][-1] == "batch.failed"


async def test_input_file_when_gone_before_another_gateway_goes_on_then_counts_are_kept() -> None:
    batches = await bench(batch_window=16)
    batch = await batches.batch(*(chat_line(str(number)) for number in range(30)))
    running = asyncio.create_task(batches.run())
    jobs = await batches.until_written(16)
    for job in jobs[:3]:
        for event in completed(job, "x"):
            batches.feed(event)
    await batches.until_written(19)

    async def counted() -> bool:
        return bool((await batches.look(batch))["request_counts"]["completed"] == 3)

    await eventually(counted)
    batches.handler.leave()
    with pytest.raises(Busy):
        await running
    contents = batches.gateway.stores.contents
    assert isinstance(contents, MemoryFiles)
    contents.stored.clear()

    await batches.run(batches.new_handler())

    state = await batches.look(batch)
    assert (state["status"], state["request_counts"]["completed"]) == ("failed", 3)


async def test_batch_when_taken_over_before_its_events_are_folded_then_no_number_comes_twice() -> (
    None
):
    """The view drops an event whose number it has, and who follows the batch never hears of it."""
    batches = await bench(batch_window=16)
    await batches.batch(*(chat_line(str(number)) for number in range(20)))
    running = asyncio.create_task(batches.run())
    jobs = await batches.until_written(16)
    for event in completed(jobs[0], "x"):
        batches.feed(event)
    await eventually(lambda: asyncio.sleep(0, len(batches.events()) == 2))
    batches.handler.leave()
    with pytest.raises(Busy):
        await running

    batches.folded.is_behind = True
    running = asyncio.create_task(batches.run(batches.new_handler()))
    await until(lambda: batches.folded.looks)
    await batches.fold_events()
    batches.folded.is_behind = False
    async with batches.worker():
        await running

    numbers = [event.sequence_number for event in batches.events()]
    assert sorted(numbers) == list(range(23))


async def test_gateway_when_it_was_frozen_and_succeeded_then_it_writes_no_old_state() -> None:
    """In a compacted topic its state would be all that is left of the batch."""
    batches = await bench(batch_window=16)
    _, running, _ = await in_the_middle(batches)
    written = len(batches.gateway.kafka.records(BATCHES.name))

    batches.leases.is_taken = True
    async with batches.worker():
        with pytest.raises(Busy):
            await running

    assert len(batches.gateway.kafka.records(BATCHES.name)) == written


async def test_gateway_when_its_successor_is_through_then_it_writes_no_old_state() -> None:
    """The lease is free again by then."""
    batches = await bench(batch_window=16)
    batch, running, _ = await in_the_middle(batches)
    written = batches.gateway.kafka.records(BATCHES.name)
    state = decode_model(BatchState, written[-1].value or b"")
    over = state.model_copy(update={"version": 300, "status": BatchStatus.COMPLETED})
    await batches.gateway.stores.batches.put(shelved_batch(over))

    async with batches.worker():
        with pytest.raises(Busy):
            await running

    assert batches.gateway.kafka.records(BATCHES.name) == written
    assert (await batches.look(batch))["status"] == "completed"


async def test_states_when_the_recorder_has_folded_them_first_then_the_batch_goes_on() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"))
    gateway = batches.gateway
    shelf, put = gateway.stores.batches, gateway.stores.batches.put

    async def folded_before(record: Shelved) -> bool:
        newest = gateway.kafka.records(BATCHES.name)[-1]
        await put(shelved_batch(decode_model(BatchState, newest.value or b"")))
        return await put(record)

    shelf.put = folded_before  # type: ignore[method-assign]
    async with batches.worker():
        await batches.run()

    assert (await batches.look(batch))["status"] == "completed"


async def test_file_store_when_away_in_the_middle_then_the_batch_waits_for_it() -> None:
    batches = await bench(batch_window=16)
    batch, running, contents = await in_the_middle(batches)
    contents.is_away = True

    async with batches.worker():
        await until(lambda: contents.refusals > 0)
        contents.is_away = False
        await running

    state = await batches.look(batch)
    assert (state["status"], state["request_counts"]["completed"]) == ("completed", 40)


def response_line(custom_id: str, **body: Any) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/responses",
        "body": {"model": "m", "input": "and?", **body},
    }


def said_before(batches: BatchBench) -> str:
    """The id of a response that is over."""
    ids = JobIds(ID_SECRET.encode())
    job = ids.issue(tenant="acme", uuid=ids.uuid_for_key(tenant="acme", route="r", key="k"))
    gateway = batches.gateway
    gateway.table.requests[job] = KeptRequest(
        surface=Surface(kind="response", echo={"model": "m"}, first_item=0, kept=True),
        input={"messages": [{"role": "user", "content": "hi"}]},
    )
    gateway.table.states[job] = JobState(
        job=job,
        tenant="acme",
        user="ann",
        status=JobStatus.COMPLETED,
        created_at=gateway.clock.now(),
        output=ChatOutput(choices=[Choice(index=0, text="hello", finish_reason="stop")]),
    )
    return "resp_" + job.removeprefix("job_")


async def responses_batch(batches: BatchBench, *lines: Any) -> str:
    file_id = await batches.upload(jsonl(*lines))
    created = await batches.create(file_id, endpoint="/v1/responses")
    return str(created.json["id"])


async def test_job_table_when_away_while_lines_are_checked_then_the_batch_waits_for_it() -> None:
    batches = await bench()
    previous = said_before(batches)
    batch = await responses_batch(batches, response_line("a", previous_response_id=previous))
    table = batches.gateway.table
    table.is_away = True

    running = asyncio.create_task(batches.run())
    await until(lambda: table.refusals > 0)
    table.is_away = False
    async with batches.worker():
        await running

    state = await batches.look(batch)
    assert (state["status"], state["errors"]) == ("completed", None)
    assert state["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


async def test_job_table_when_away_while_lines_begin_then_no_line_fails() -> None:
    batches = await bench(batch_window=16)
    previous = said_before(batches)
    lines = [response_line(str(number), previous_response_id=previous) for number in range(20)]
    batch = await responses_batch(batches, *lines)
    table = batches.gateway.table

    running = asyncio.create_task(batches.run())
    await batches.until_written(16)
    table.is_away = True
    told = table.refusals
    batches.feed(*completed(batches.written()[0], "x"))
    await until(lambda: table.refusals > told)
    table.is_away = False
    async with batches.worker():
        await running

    state = await batches.look(batch)
    assert state["request_counts"] == {"total": 20, "completed": 20, "failed": 0}


async def test_line_when_it_has_ended_and_its_previous_response_is_deleted_then_it_is_well() -> (
    None
):
    """Also in JSON mode, where the input has to name the format."""
    batches = await bench(batch_window=16)
    previous = said_before(batches)
    asked = {"input": "as JSON", "text": {"format": {"type": "json_object"}}}
    line = response_line("a", previous_response_id=previous, **asked)
    batch = await responses_batch(batches, line)
    (job,) = await left_by_its_gateway(batches, 1)
    for event in completed(job, "x"):
        batches.feed(event)
    gateway = batches.gateway
    deleted = "job_" + previous.removeprefix("resp_")
    del gateway.table.states[deleted], gateway.table.requests[deleted]

    await batches.run(batches.new_handler())

    state = await batches.look(batch)
    assert state["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    (told,) = await batches.content(state["output_file_id"])
    body = told["response"]["body"]
    assert (body["object"], body["previous_response_id"]) == ("response", previous)
    assert body["output"][0]["content"][0]["text"] == "re: x"


async def test_batch_when_killed_while_its_files_are_stored_then_it_ends_as_it_would_have() -> None:
    """Its lines had all ended before it was out of time."""
    batches = await bench(batch_window=16)
    batch = await batches.batch(chat_line("a"), chat_line("b"))
    contents = batches.gateway.stores.contents
    assert isinstance(contents, MemoryFiles)
    inputs = set(contents.stored)
    stopped = asyncio.Event()

    async def killed(record: Shelved) -> bool:
        stopped.set()
        await put_file(record)
        await asyncio.Event().wait()
        return True

    files = batches.gateway.stores.files
    put_file = files.put
    files.put = killed  # type: ignore[method-assign]
    running = asyncio.create_task(batches.run())
    async with batches.worker():
        await stopped.wait()
    batches.handler.leave()
    with pytest.raises(Busy):
        await running
    files.put = put_file  # type: ignore[method-assign]
    await batches.fold_events()
    finalizing = (await batches.look(batch))["finalizing_at"]

    batches.gateway.clock.advance(timedelta(hours=25))
    batches.cancels.asked.add("job_" + batch.removeprefix("batch_"))
    await batches.run(batches.new_handler())

    state = await batches.look(batch)
    assert (state["status"], state["finalizing_at"]) == ("completed", finalizing)
    assert state["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert len(await batches.content(state["output_file_id"])) == 2
    (output,) = set(contents.stored) - inputs
    key = state["output_file_id"].encode()
    told = [record for record in batches.gateway.kafka.records(FILES.name) if record.key == key]
    assert decode_model(FileRecord, told[-1].value or b"").blob.path == output
    types = [event.type for event in batches.events()]
    assert types.count("batch.finalizing") == 1
