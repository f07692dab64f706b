"""Batches over parts in memory: what is checked, what runs, what is left in which file."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from penstock_contracts.events import Cancelled
from penstock_contracts.topics import BATCH_EVENTS, BATCH_REQUESTS
from penstock_kit.control import Cancel
from penstock_kit.errors import Busy, Rejected
from penstock_kit.kafka.ports import ProducerFull

from tests.support.batches import (
    LOW,
    BatchBench,
    chat_line,
    completed,
    delivery,
    failed,
    jsonl,
    look_together,
)
from tests.support.gateway import make_bench


async def bench(**gateway: Any) -> BatchBench:
    return BatchBench(await make_bench(**gateway))


async def test_batch_when_created_then_answers_validating_and_is_in_the_log() -> None:
    batches = await bench()
    file_id = await batches.upload(jsonl(chat_line("a")))

    reply = await batches.create(file_id, metadata={"night": "1"})

    assert (reply.status, reply.json["status"]) == (200, "validating")
    assert reply.json["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert reply.json["metadata"] == {"night": "1"}
    (record,) = batches.gateway.kafka.records(BATCH_REQUESTS.name)
    assert record.key == reply.json["id"].encode()


async def test_batch_when_all_lines_end_well_then_output_has_them_in_openais_shape() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a", "one"), chat_line("b", "two"))

    async with batches.worker():
        await batches.run()

    state = await batches.look(batch)
    assert state["status"] == "completed"
    assert state["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert state["error_file_id"] is None
    assert state["usage"]["total_tokens"] == 10
    lines = {line["custom_id"]: line for line in await batches.content(state["output_file_id"])}
    assert lines.keys() == {"a", "b"}
    assert lines["a"].keys() == {"id", "custom_id", "response", "error"}
    assert lines["a"]["error"] is None
    response = lines["b"]["response"]
    assert (response["status_code"], response["body"]["object"]) == (200, "chat.completion")
    assert response["body"]["choices"][0]["message"]["content"] == "re: two"


async def test_lines_when_submitted_then_workers_are_told_not_to_stream_them() -> None:
    batches = await bench()
    await batches.batch(chat_line("a"), chat_line("b"))

    async with batches.worker():
        await batches.run()

    requests = [json.loads(record.value or b"") for record in batches.gateway.kafka.records(LOW)]
    assert [request["streamed"] for request in requests] == [False, False]


async def test_batch_when_every_line_fails_then_error_file_has_them_and_no_output_file() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"), chat_line("b"))

    async with batches.worker(failed):
        await batches.run()

    state = await batches.look(batch)
    assert (state["status"], state["output_file_id"]) == ("completed", None)
    assert state["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
    lines = await batches.content(state["error_file_id"])
    assert {line["custom_id"] for line in lines} == {"a", "b"}
    assert lines[0]["response"]["status_code"] == 400
    assert lines[0]["response"]["body"]["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("lines", "code", "line", "param"),
    [
        ([chat_line("a"), "{broken"], "invalid_json_line", 2, None),
        ([chat_line("a"), "", chat_line("a")], "duplicate_custom_id", 3, "custom_id"),
        ([chat_line("a") | {"method": "GET"}], "invalid_method", 1, "method"),
        ([chat_line("a") | {"url": "/v1/embeddings"}], "url_mismatch", 1, "url"),
        ([chat_line("a") | {"custom_id": ""}], "invalid_custom_id", 1, "custom_id"),
        ([{"custom_id": "a"}], "missing_required_parameter", 1, "method"),
        ([chat_line("a") | {"more": 1}], "unknown_parameter", 1, "more"),
        ([chat_line("a", temperature=9)], "decimal_above_max_value", 1, "body.temperature"),
        ([chat_line("a", stream=True)], "unsupported_value", 1, "body.stream"),
        ([chat_line("a"), chat_line("b", model="n")], "model_mismatch", 2, "body.model"),
        ([], "empty_file", None, None),
    ],
)
async def test_input_file_when_unusable_then_batch_fails_with_line_and_code(
    lines: list[Any], code: str, line: int | None, param: str | None
) -> None:
    batches = await bench()
    data = jsonl(*lines) or b"\n"
    created = await batches.create(await batches.upload(data))

    await batches.run()

    state = await batches.look(created.json["id"])
    assert state["status"] == "failed"
    (problem,) = state["errors"]["data"]
    assert (problem["code"], problem["line"], problem["param"]) == (code, line, param)
    assert batches.written() == []


async def test_input_file_when_it_has_more_lines_than_allowed_then_batch_fails() -> None:
    batches = await bench(batch_lines=2)
    batch = await batches.batch(*(chat_line(str(number)) for number in range(3)))

    await batches.run()

    assert (await batches.look(batch))["errors"]["data"][0]["code"] == "too_many_tasks"


async def test_every_line_when_it_ends_then_there_is_an_event_and_it_can_be_followed() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"), chat_line("b"))
    async with batches.worker():
        await batches.run()
    await batches.fold_events()

    reply = await batches.gateway.call("GET", f"/v1/batches/{batch}/events")
    later = await batches.gateway.call(
        "GET", f"/v1/batches/{batch}/events", headers={"last-event-id": "2"}
    )

    numbers = [event.sequence_number for event in batches.events()]
    assert numbers == list(range(5))
    types = [line[7:] for line in reply.body.decode().splitlines() if line.startswith("event: ")]
    assert types == [
        "batch.in_progress",
        "batch.line.completed",
        "batch.line.completed",
        "batch.finalizing",
        "batch.completed",
    ]
    assert "batch.line" not in later.body.decode()
    assert "batch.completed" in later.body.decode()


async def test_lines_when_window_is_small_then_no_more_are_under_way() -> None:
    batches = await bench(batch_window=16)
    await batches.batch(*(chat_line(str(number)) for number in range(50)))

    running = asyncio.create_task(batches.run())
    await batches.until_written(16)
    for _ in range(100):
        await asyncio.sleep(0)
    under_way = len(batches.written())
    async with batches.worker():
        await running

    assert under_way == 16
    assert len(batches.written()) == 50


async def test_gateway_when_it_lets_go_then_the_next_goes_on_and_calls_nothing_twice() -> None:
    batches = await bench(batch_window=16)
    batch = await batches.batch(*(chat_line(str(number)) for number in range(40)))
    running = asyncio.create_task(batches.run())
    first = (await batches.until_written(16))[:5]
    for job in first:
        batches.feed(*completed(job, "x"))
    await batches.until_written(20)
    batches.handler.leave()
    with pytest.raises(Busy):
        await running
    await batches.fold_events()
    told = len([event for event in batches.events() if event.type.startswith("batch.line")])
    for job in set(batches.written()) - set(first):
        batches.feed(completed(job, "x")[0])
    next_one = batches.new_handler()
    running = asyncio.create_task(batches.run(next_one))
    async with batches.worker():
        await running

    state = await batches.look(batch)
    assert (state["status"], state["request_counts"]["completed"]) == ("completed", 40)
    assert len(batches.written()) == len(set(batches.written())) == 40
    events = batches.events()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    lines = [event.line for event in events if event.type.startswith("batch.line")]
    assert len(lines) == len(set(lines)) == 40
    assert 1 <= told <= 5, "the first at once, the others with the next burst or by the next run"
    assert len(await batches.content(state["output_file_id"])) == 40


async def test_cancel_when_lines_are_under_way_then_finished_ones_are_kept() -> None:
    batches = await bench(batch_window=16)
    batch = await batches.batch(*(chat_line(str(number)) for number in range(30)))
    running = asyncio.create_task(batches.run())
    jobs = await batches.until_written(16)
    batches.feed(*completed(jobs[0], "x"))
    await batches.until_written(17)

    reply = await batches.gateway.call("POST", f"/v1/batches/{batch}/cancel")
    job = "job_" + batch.removeprefix("batch_")
    (called_back,) = batches.cancels_written()
    for callback in batches.cancels.callbacks:
        callback(Cancel(job, "acme", "ann", batches.gateway.clock.now()))
    for job in batches.written()[1:]:
        batches.feed(Cancelled(job=job, attempt=0, seq=2, at=batches.gateway.clock.now()))
    await running

    assert (reply.status, reply.json["status"]) == (200, "cancelling")
    assert called_back == f"cancel:job_{batch.removeprefix('batch_')}"
    state = await batches.look(batch)
    assert state["status"] == "cancelled"
    assert state["request_counts"] == {"total": 30, "completed": 1, "failed": 29}
    errors = await batches.content(state["error_file_id"])
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert len(await batches.content(state["output_file_id"])) == 1
    again = await batches.gateway.call("POST", f"/v1/batches/{batch}/cancel")
    assert again.json["status"] == "cancelled"


async def test_cancel_when_batch_is_over_then_409() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"))
    async with batches.worker():
        await batches.run()

    reply = await batches.gateway.call("POST", f"/v1/batches/{batch}/cancel")

    assert (reply.status, reply.code) == (409, "batch_is_over")


async def test_batch_when_its_window_is_over_then_the_rest_is_in_the_error_file() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"), chat_line("b"))
    batches.gateway.clock.advance(timedelta(hours=25))

    running = asyncio.create_task(batches.run())
    await running

    state = await batches.look(batch)
    assert state["status"] == "expired"
    assert state["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
    lines = await batches.content(state["error_file_id"])
    assert [line["error"]["code"] for line in lines] == ["batch_expired", "batch_expired"]
    assert batches.written() == []


async def test_batch_when_key_is_repeated_then_same_batch_and_another_body_is_422() -> None:
    batches = await bench()
    file_id = await batches.upload(jsonl(chat_line("a")))
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    headers = {"idempotency-key": "k"}

    first = await batches.gateway.call("POST", "/v1/batches", body, headers=headers)
    again = await batches.gateway.call("POST", "/v1/batches", body, headers=headers)
    other = await batches.gateway.call(
        "POST", "/v1/batches", body | {"metadata": {"a": "b"}}, headers=headers
    )

    assert first.json["id"] == again.json["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert len(batches.gateway.kafka.records(BATCH_REQUESTS.name)) == 1


async def test_batch_when_two_are_asked_for_with_one_key_at_once_then_one_is_taken() -> None:
    batches = await bench()
    file_id = await batches.upload(jsonl(chat_line("a")))
    look_together(batches.gateway.stores.batches)
    asked = {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}

    replies = await asyncio.gather(
        *(
            batches.gateway.call(
                "POST",
                "/v1/batches",
                asked | {"completion_window": "24h", "metadata": {"number": number}},
                headers={"idempotency-key": "k"},
            )
            for number in "12"
        )
    )

    taken, refused = sorted(replies, key=lambda reply: reply.status)
    assert (taken.status, refused.status) == (200, 422)
    assert refused.code == "idempotency_key_reused"
    assert (await batches.look(taken.json["id"]))["metadata"] == taken.json["metadata"]


async def test_batch_when_file_is_anothers_then_400_and_its_batch_is_not_found() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"))
    file_id = (await batches.look(batch))["input_file_id"]
    stranger = batches.gateway.new_key(tenant="other")
    colleague = batches.gateway.new_key(user="bob")
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }

    for key in (stranger, colleague):
        made = await batches.gateway.call("POST", "/v1/batches", body, key=key)
        found = await batches.gateway.call("GET", f"/v1/batches/{batch}", key=key)
        listed = await batches.gateway.call("GET", "/v1/batches", key=key)

        assert (made.status, made.json["error"]["param"]) == (400, "input_file_id")
        assert (found.status, found.code) == (404, "batch_not_found")
        assert listed.json["data"] == []


async def test_record_when_not_signed_by_a_gateway_then_rejected() -> None:
    batches = await bench()
    await batches.batch(chat_line("a"))
    (record,) = batches.gateway.kafka.records(BATCH_REQUESTS.name)
    value = json.loads(record.value or b"") | {"user": "root"}
    forged = replace(record, value=json.dumps(value).encode())

    with pytest.raises(Rejected, match="not signed"):
        await batches.handler(delivery(forged))


async def test_listing_when_paged_then_newest_first_and_goes_on_after() -> None:
    batches = await bench()
    made = []
    for name in "abc":
        made.append(await batches.batch(chat_line(name)))
        batches.gateway.clock.advance(timedelta(seconds=1))

    first = await batches.gateway.call("GET", "/v1/batches?limit=2")
    rest = await batches.gateway.call(
        "GET", f"/v1/batches?limit=2&after={first.json['data'][-1]['id']}"
    )

    assert [batch["id"] for batch in first.json["data"]] == [made[2], made[1]]
    assert first.json["has_more"] is True
    assert [batch["id"] for batch in rest.json["data"]] == [made[0]]
    assert rest.json["has_more"] is False


async def test_line_when_there_is_no_room_then_it_waits_and_runs() -> None:
    batches = await bench()
    batch = await batches.batch(chat_line("a"))
    refusals = 2

    def refuse(record: Any) -> Exception | None:
        nonlocal refusals
        if record.topic.endswith(".low") and refusals:
            refusals -= 1
            return ProducerFull("full", retry_after_s=0.01)
        return None

    batches.gateway.kafka.faults.on_send = refuse
    async with batches.worker():
        await batches.run()

    state = await batches.look(batch)
    assert (state["status"], state["request_counts"]["completed"], refusals) == ("completed", 1, 0)


async def test_events_when_there_is_no_room_for_them_then_none_is_lost_or_out_of_order() -> None:
    batches = await bench()
    await batches.batch(*(chat_line(str(number)) for number in range(5)))
    turns = 0

    def refuse(record: Any) -> Exception | None:
        nonlocal turns
        turns += record.topic == BATCH_EVENTS.name
        is_refused = record.topic == BATCH_EVENTS.name and turns % 3 == 1
        return ProducerFull("full", retry_after_s=0.01) if is_refused else None

    batches.gateway.kafka.faults.on_send = refuse
    async with batches.worker():
        await batches.run()

    events = batches.events()
    assert [event.sequence_number for event in events] == list(range(8))
    assert [events[0].type, events[-1].type] == ["batch.in_progress", "batch.completed"]
