"""`/v1/responses` through the whole app: asked for, fetched, followed, called back, deleted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest
from openai._streaming import SSEDecoder
from openai.types.responses import Response
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import ChatOutput, Choice, TextDelta, Usage
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest
from penstock_contracts.topics import CONTROL, EVENTS
from penstock_kit.tenancy import TenantScope

from tests.support.gateway import GatewayBench, OpenCall, Reply, make_bench
from tests.support.openai_answers import Worker, chunks_of

PATH = "/v1/responses"
HELLO: dict[str, Any] = {"model": "m", "input": "hi"}


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench(
        models=["m"],
        heartbeat=timedelta(seconds=0.05),
        stream_frames=64,
        drain_patience=timedelta(seconds=0.05),
    )


def written(bench: GatewayBench, job: str | None = None) -> dict[str, Any]:
    """The request of a job; without one of the only one that the table does not know."""
    found = {
        dict(record.headers)["ce_id"].decode(): record.value
        for record in bench.kafka.records("ai.chat.requests.v1")
    }
    jobs = [job] if job is not None else [one for one in found if one not in bench.table.states]
    value: dict[str, Any] = orjson.loads(found[jobs[0]] or b"")
    return value


async def next_job(bench: GatewayBench) -> str:
    """The job that was written last; the ones before it are in the table."""
    async with asyncio.timeout(10):
        while True:
            for record in bench.kafka.records("ai.chat.requests.v1"):
                job = dict(record.headers)["ce_id"].decode()
                if job not in bench.table.states:
                    return job
            await asyncio.sleep(0)


def folded(bench: GatewayBench, job: str, text: str | None = None, **state: Any) -> str:
    """Let the table have the job as it stands; with a text it completed. The response's id."""
    value = written(bench, job)
    if value["surface"].get("kept"):
        bench.table.requests[job] = KeptRequest(surface=value["surface"], input=value["input"])
    members: dict[str, Any] = {"status": JobStatus.RUNNING, "attempt": 1, "seq": 1}
    if text is not None:
        output = ChatOutput(choices=[Choice(index=0, text=text, finish_reason="stop")])
        usage = Usage(input_tokens=1, output_tokens=2)
        members |= {"status": JobStatus.COMPLETED, "output": output, "usage": usage}
    now = bench.clock.now()
    bench.table.states[job] = JobState(
        job=job,
        tenant="acme",
        user="ann",
        task="chat",
        **{"created_at": now, **members, **state},
    )
    return "resp_" + job[4:]


async def done(bench: GatewayBench, body: dict[str, Any], text: str) -> str:
    """A response that completed; its id."""
    call = OpenCall(bench, PATH, body)
    job = await next_job(bench)
    bench.feed_written()
    worker = Worker(bench, job)
    worker.starts()
    worker.completes(text)
    await call.end()
    assert call.status == 200
    return folded(bench, job, text)


async def written_in_background(bench: GatewayBench) -> str:
    """The job of a response in the background, of which the tail has not heard."""
    await bench.call("POST", PATH, {**HELLO, "background": True})
    return await next_job(bench)


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "42"}


async def refused(bench: GatewayBench, **body: Any) -> tuple[int, str | None, str | None]:
    reply = await bench.call("POST", PATH, {**HELLO, **body})
    return reply.status, reply.json["error"]["code"], reply.json["error"]["param"]


def is_error(reply: Reply, status: int, code: str) -> bool:
    return (reply.status, reply.json["error"]["code"]) == (status, code)


async def test_create_when_the_job_completes_is_the_response(bench: GatewayBench) -> None:
    body = {
        **HELLO,
        "instructions": "Answer in JSON.",
        "metadata": {"a": "b"},
        "max_output_tokens": 7,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "function", "name": "f"},
    }
    call = OpenCall(bench, PATH, body)
    job = await next_job(bench)
    bench.feed_written()
    worker = Worker(bench, job)
    worker.starts()
    worker.completes("hello")
    response = Response.model_validate_json(await call.end())

    assert response.id == "resp_" + job[4:]
    assert (response.status, response.output_text) == ("completed", "hello")
    assert (response.instructions, response.metadata) == ("Answer in JSON.", {"a": "b"})
    assert call.headers["x-penstock-job"] == job
    value = written(bench)
    assert value["input"]["messages"] == [
        {"role": "system", "content": "Answer in JSON."},
        {"role": "user", "content": "hi"},
    ]
    assert value["params"] == {
        "max_tokens": 7,
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    }
    assert value["surface"]["first_item"] == 1
    assert value["surface"]["kept"] is True


async def test_stream_begins_at_once_and_ends_with_the_response(bench: GatewayBench) -> None:
    call = OpenCall(bench, PATH, {**HELLO, "stream": True})
    job = await next_job(bench)
    await call.until("response.created")
    bench.feed_written()
    worker = Worker(bench, job)
    worker.starts()
    worker.says("hel")
    worker.says("lo")
    worker.completes("hello")
    events = chunks_of(await call.end())

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "hello"


async def test_stream_when_the_key_expires_meanwhile_tells_why(bench: GatewayBench) -> None:
    bench.key = bench.new_key(lifetime=timedelta(hours=1))
    call = OpenCall(bench, PATH, {**HELLO, "stream": True})
    await call.until("response.created")

    bench.clock.advance(timedelta(hours=1))

    last = chunks_of(await call.end())[-1]
    assert (last["type"], last["code"]) == ("error", "expired_api_key")


async def test_a_caller_who_leaves_does_not_end_the_response(bench: GatewayBench) -> None:
    call = OpenCall(bench, PATH, {**HELLO, "stream": True, "store": False})
    await call.until("response.created")

    await call.hang_up()

    assert bench.kafka.records(CONTROL.name) == []


async def test_background_is_answered_at_once(bench: GatewayBench) -> None:
    reply = await bench.call("POST", PATH, {**HELLO, "background": True})

    assert reply.status == 200
    response = Response.model_validate(reply.json)
    assert (response.status, response.background, response.output) == ("queued", True, [])


@pytest.mark.parametrize("wishes", ["wait=5", "respond-async, wait=5"])
async def test_background_with_prefer_waits_for_the_end(bench: GatewayBench, wishes: str) -> None:
    call = OpenCall(bench, PATH, {**HELLO, "background": True}, headers={"prefer": wishes})
    job = await next_job(bench)
    bench.feed_written()
    worker = Worker(bench, job)
    worker.starts()
    worker.completes("hello")
    body = orjson.loads(await call.end())

    assert body["status"] == "completed"
    assert call.headers["preference-applied"] == wishes


async def test_a_stored_response_is_fetched_as_it_was_answered(bench: GatewayBench) -> None:
    response = await done(bench, HELLO, "hello")

    reply = await bench.call("GET", f"{PATH}/{response}")

    assert reply.status == 200
    assert Response.model_validate(reply.json).output_text == "hello"


@pytest.mark.parametrize("source", ["ring", "table"])
async def test_key_when_its_response_is_over_gives_the_same_bytes(
    bench: GatewayBench, source: str
) -> None:
    key = {"Idempotency-Key": "k1"}
    call = OpenCall(bench, PATH, HELLO, headers=key)
    job = await next_job(bench)
    created_at = bench.clock.now()
    bench.feed_written()
    bench.clock.advance(timedelta(minutes=5))
    worker = Worker(bench, job)
    worker.starts()
    worker.completes("hello", model="m-2026")
    first = await call.end()
    usage = Usage(input_tokens=3, output_tokens=5)
    members = {"model": "m-2026", "usage": usage, "seq": 2, "ended_at": bench.clock.now()}
    folded(bench, job, "hello", **members, created_at=created_at)
    bench.clock.advance(timedelta(minutes=5))
    if source == "table":
        bench.hub._ring._jobs.clear()

    again = await bench.call("POST", PATH, HELLO, headers=key)

    assert again.headers["idempotent-replayed"] == "true"
    assert again.json["completed_at"] is not None
    assert again.body.decode() == first


async def test_what_is_not_stored_or_not_ones_own_is_not_found(bench: GatewayBench) -> None:
    hidden = await done(bench, {**HELLO, "store": False}, "hello")
    assert is_error(await bench.call("GET", f"{PATH}/{hidden}"), 404, "response_not_found")

    mine = await done(bench, HELLO, "hello")
    other = bench.new_key(user="bob")
    stranger = bench.new_key(tenant="other")
    for key in (other, stranger):
        reply = await bench.call("GET", f"{PATH}/{mine}", key=key)
        assert is_error(reply, 404, "response_not_found")
    assert is_error(await bench.call("GET", f"{PATH}/resp_x"), 404, "response_not_found")


@pytest.mark.parametrize(("user", "status"), [("ann", 200), ("bob", 404)])
async def test_response_that_is_folded_while_it_is_looked_for_is_its_owners(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch, user: str, status: int
) -> None:
    response = await done(bench, HELLO, "hello")
    bench.inside.recent._jobs.clear()
    bench.inside.recent._ended.clear()
    looks, look = iter([None]), bench.table.get

    async def get(scope: TenantScope, job_id: str) -> JobState | None:
        return next(looks, await look(scope, job_id))

    monkeypatch.setattr(bench.table, "get", get)

    reply = await bench.call("GET", f"{PATH}/{response}", key=bench.new_key(user=user))

    assert reply.status == status


async def test_a_stream_is_resumed_after_a_number(bench: GatewayBench) -> None:
    await bench.call("POST", PATH, {**HELLO, "background": True})
    job = await next_job(bench)
    bench.feed_written()
    response = folded(bench, job)
    worker = Worker(bench, job)
    worker.starts()
    worker.says(TextDelta(text="a"), TextDelta(text="b"))
    whole = OpenCall(bench, f"{PATH}/{response}?stream=true")
    rest = OpenCall(bench, f"{PATH}/{response}?stream=true&starting_after=4")
    by_header = OpenCall(bench, f"{PATH}/{response}?stream=true", headers={"last-event-id": "4"})
    for call in (whole, rest, by_header):
        await call.until('"sequence_number":5')
    worker.completes("ab")

    events = chunks_of(await whole.end())
    assert [event["type"].removeprefix("response.") for event in events[:5]] == [
        "created",
        "queued",
        "in_progress",
        "output_item.added",
        "content_part.added",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert chunks_of(await rest.end()) == events[5:]
    assert chunks_of(await by_header.end()) == events[5:]


async def test_signs_of_life_are_no_events_to_openais_client(bench: GatewayBench) -> None:
    """Its decoder takes an empty line behind an `id` for an event, even after a comment."""
    call = OpenCall(bench, PATH, {**HELLO, "stream": True})
    job = await next_job(bench)
    bench.feed_written()
    await call.until(": ping")
    worker = Worker(bench, job)
    worker.starts()
    worker.completes("hello")

    decoded = list(SSEDecoder().iter_bytes(iter([(await call.end()).encode()])))

    assert all(event.data for event in decoded)
    assert decoded[-1].event == "response.completed"


async def test_a_stream_whose_pieces_are_no_longer_kept_begins_anew_or_not_at_all(
    bench: GatewayBench,
) -> None:
    response = folded(bench, await written_in_background(bench), "hello")

    events = chunks_of(await OpenCall(bench, f"{PATH}/{response}?stream=true").end())
    late = await bench.call("GET", f"{PATH}/{response}?stream=true&starting_after=7")

    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "hello"
    assert is_error(late, 400, "stream_position_gone")


@pytest.mark.parametrize(
    "state",
    [
        {"status": JobStatus.FAILED, "seq": 60},
        {"status": JobStatus.CANCELLED, "seq": 60},
        {"status": JobStatus.RUNNING, "seq": 60},
    ],
    ids=["failed", "cancelled", "running"],
)
async def test_resuming_where_the_output_is_no_longer_kept_is_refused_whatever_the_status(
    bench: GatewayBench, state: dict[str, Any]
) -> None:
    response = folded(bench, await written_in_background(bench), **state)

    late = await bench.call("GET", f"{PATH}/{response}?stream=true&starting_after=50")

    assert is_error(late, 400, "stream_position_gone")


async def test_previous_response_brings_its_messages_and_its_answer(bench: GatewayBench) -> None:
    first = await done(bench, {**HELLO, "instructions": "Be brief."}, "hello")

    body = {**HELLO, "input": "and?", "previous_response_id": first, "background": True}
    reply = await bench.call("POST", PATH, body)

    assert reply.status == 200
    assert reply.json["previous_response_id"] == first
    value = written(bench)
    assert value["input"]["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "and?"},
    ]
    assert value["surface"]["first_item"] == 2


async def test_previous_response_that_cannot_be_gone_on_from_is_refused(
    bench: GatewayBench,
) -> None:
    unknown = await refused(bench, previous_response_id="resp_" + "0" * 42)
    assert unknown == (400, "previous_response_not_found", "previous_response_id")

    await bench.call("POST", PATH, {**HELLO, "background": True})
    running = folded(bench, await next_job(bench))
    unfinished = await refused(bench, previous_response_id=running)
    assert unfinished == (400, "previous_response_unusable", "previous_response_id")


async def test_an_item_that_is_only_named_is_read_from_the_response_that_gave_it(
    bench: GatewayBench,
) -> None:
    first = await done(bench, HELLO, "hello")
    item = (await bench.call("GET", f"{PATH}/{first}")).json["output"][0]["id"]

    named = [{"type": "item_reference", "id": item}, {"role": "user", "content": "and?"}]
    await bench.call("POST", PATH, {**HELLO, "input": named, "background": True})

    assert written(bench)["input"]["messages"][0] == {"role": "assistant", "content": "hello"}
    missing = [{"type": "item_reference", "id": "msg_x"}]
    assert await refused(bench, input=missing) == (404, "item_not_found", "input")


async def test_cancel_tells_the_workers_and_waits_for_the_end(bench: GatewayBench) -> None:
    await bench.call("POST", PATH, {**HELLO, "background": True})
    job = await next_job(bench)
    bench.feed_written()
    response = folded(bench, job)
    call = OpenCall(bench, f"{PATH}/{response}/cancel", {})
    worker = Worker(bench, job)
    worker.starts()
    async with asyncio.timeout(10):
        while not bench.kafka.records(CONTROL.name):  # noqa: ASYNC110 - a broker has no event for its tests
            await asyncio.sleep(0)
    worker.is_cancelled()
    folded(bench, job, status=JobStatus.CANCELLED)

    assert orjson.loads(await call.end())["status"] == "cancelled"


async def test_cancel_of_what_is_over_gives_it_back_and_of_a_waiting_one_is_refused(
    bench: GatewayBench,
) -> None:
    over = await done(bench, HELLO, "hello")
    reply = await bench.call("POST", f"{PATH}/{over}/cancel")
    assert (reply.status, reply.json["status"]) == (200, "completed")
    assert bench.kafka.records(CONTROL.name) == []

    job = over.replace("resp_", "job_")
    folded(bench, job)
    waiting = await bench.call("POST", f"{PATH}/{over}/cancel")
    assert is_error(waiting, 400, "response_not_cancellable")


async def test_delete_says_so_in_the_log(bench: GatewayBench) -> None:
    response = await done(bench, HELLO, "hello")
    bench.table.forgets_at_once = True

    reply = await bench.call("DELETE", f"{PATH}/{response}")

    assert reply.json == {"id": response, "object": "response", "deleted": True}
    record = bench.kafka.records(EVENTS.name)[-1]
    assert dict(record.headers)["ce_type"] == b"penstock.job.deleted.v1"
    assert record.key == response.replace("resp_", "job_").encode()


async def test_output_of_several_parts_comes_back_as_it_was_sent(bench: GatewayBench) -> None:
    parts = [{"type": "input_text", "text": text} for text in ("4", "2")]
    response = await done(bench, {**HELLO, "input": [CALL, {**RESULT, "output": parts}]}, "hello")

    items = (await bench.call("GET", f"{PATH}/{response}/input_items")).json["data"]

    assert items[0]["output"] == parts


async def test_input_items_are_those_of_the_turn(bench: GatewayBench) -> None:
    items = [
        {"role": "user", "content": "one"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
    ]
    response = await done(bench, {**HELLO, "input": items, "instructions": "x"}, "hello")
    path = f"{PATH}/{response}/input_items"

    first = (await bench.call("GET", f"{path}?order=asc&limit=2")).json
    second = (await bench.call("GET", f"{path}?order=asc&after={first['last_id']}")).json

    assert [item["type"] for item in first["data"]] == ["message", "function_call"]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert second["data"][0]["output"] == "42"
    newest = (await bench.call("GET", path)).json
    assert newest["data"][0]["type"] == "function_call_output"
    assert (await bench.call("GET", f"{path}?limit=0")).json["error"]["param"] == "limit"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": []}, "missing_required_parameter", None),
        ({"input": ""}, "missing_required_parameter", None),
        ({"input": "", "instructions": "Be brief."}, "missing_required_parameter", None),
        ({"input": [{"type": "reasoning", "summary": []}]}, "invalid_value", "input"),
        ({"input": None}, "invalid_type", "input"),
        ({"input": 7}, "invalid_type", "input"),
        ({"input": [{"type": "web_search_call"}]}, "unsupported_value", "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "unsupported_value",
            "input[0].content[0].type",
        ),
        ({"input": [{"role": "robot", "content": "x"}]}, "invalid_value", "input[0].role"),
        ({"tools": [{"type": "web_search"}]}, "unsupported_value", "tools[0].type"),
        ({"tool_choice": "required"}, None, "tool_choice"),
        ({"truncation": "auto"}, "unsupported_value", "truncation"),
        ({"prompt": {"id": "p"}}, "unsupported_parameter", "prompt"),
        ({"temperature": 3}, "decimal_above_max_value", "temperature"),
        ({"max_output_tokens": 0}, "integer_below_min_value", "max_output_tokens"),
        ({"background": True, "store": False}, None, "store"),
        (
            {"conversation": "c", "previous_response_id": "r"},
            "mutually_exclusive_parameters",
            "previous_response_id",
        ),
        (
            {"text": {"format": {"type": "json_schema"}}},
            "missing_required_parameter",
            "text.format.name",
        ),
        ({"nonsense": 1}, "unknown_parameter", "nonsense"),
        ({"input": ["x"]}, "invalid_type", "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "missing_required_parameter",
            "input[0].content[0].text",
        ),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "a"}]}]},
            "invalid_value",
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "output_text", "text": "a"}]}]},
            "invalid_value",
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            "invalid_value",
            "input[0].content[0].type",
        ),
        ({"input": [CALL]}, None, "input"),
        ({"input": [RESULT]}, None, "input"),
        (
            {"input": [{**CALL, "namespace": "n"}, RESULT]},
            "unsupported_parameter",
            "input[0].namespace",
        ),
        ({"text": {"format": {"type": "json_object"}}}, None, "input"),
        (
            {"text": {"format": {"type": "text", "name": "x"}}},
            "unknown_parameter",
            "text.format.name",
        ),
        (
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "x",
                        "strict": True,
                        "schema": {"type": "object", "properties": {}},
                    }
                }
            },
            "invalid_json_schema",
            "text.format.schema",
        ),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": {"type": "array"}}]},
            "invalid_function_parameters",
            "tools[0].parameters",
        ),
        (
            {"tools": [{"type": "function", "name": "f", "defer_loading": True}]},
            "unsupported_parameter",
            "tools[0].defer_loading",
        ),
        ({"reasoning": {"summary": "detailed"}}, "unsupported_value", "reasoning.summary"),
        ({"reasoning": {"mode": "fast"}}, "unsupported_parameter", "reasoning.mode"),
        ({"include": ["file_search_call.results"]}, "unsupported_value", "include[0]"),
        ({"include": ["everything"]}, "invalid_value", "include[0]"),
        ({"service_tier": "ultrafast"}, "unsupported_value", "service_tier"),
    ],
)
async def test_wrong_bodies_are_refused_as_openai_refuses_them(
    bench: GatewayBench, body: dict[str, Any], code: str | None, param: str | None
) -> None:
    assert await refused(bench, **body) == (400, code, param)


@pytest.mark.parametrize("empty", [{}, {"input": ""}, {"input": []}], ids=str)
async def test_empty_input_goes_on_from_a_response_and_is_nothing_else(
    bench: GatewayBench, empty: dict[str, Any]
) -> None:
    first = await done(bench, HELLO, "hello")

    alone = await bench.call("POST", PATH, {"model": "m", **empty})
    body = {"model": "m", "previous_response_id": first, "background": True, **empty}
    reply = await bench.call("POST", PATH, body)

    assert is_error(alone, 400, "missing_required_parameter")
    assert alone.json["error"]["message"].startswith('One of "input" or "previous_response_id"')
    assert reply.status == 200
    assert written(bench)["input"]["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
    ]


async def test_items_that_the_sdk_gave_back_whole_are_taken(bench: GatewayBench) -> None:
    """`model_dump()` writes every field that OpenAI has, with null where it is not used."""
    dumped = {**CALL, "id": "fc_1", "status": None, "async": None, "caller": None}
    items = [
        {"role": "user", "content": "one"},
        {**dumped, "namespace": None, "parsed_arguments": {}},
        {**RESULT, "namespace": None, "name": None},
    ]

    reply = await bench.call("POST", PATH, body={**HELLO, "input": items, "background": True})

    assert reply.status == 200, reply.json


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=maybe", "stream"),
        ("starting_after=1", "starting_after"),
        ("stream=true&starting_after=x", "starting_after"),
        ("colour=red", "colour"),
        ("include=everything", "include[0]"),
        ("include[]=reasoning.encrypted_content&include[]=everything", "include[1]"),
    ],
)
async def test_wrong_queries_are_refused(bench: GatewayBench, query: str, param: str) -> None:
    reply = await bench.call("GET", f"{PATH}/resp_x?{query}")

    assert (reply.status, reply.json["error"]["param"]) == (400, param)


@pytest.mark.parametrize("path", ["", "/input_items"])
async def test_included_is_what_a_body_may_include(bench: GatewayBench, path: str) -> None:
    response = await done(bench, HELLO, "hello")
    path = f"{PATH}/{response}{path}"

    taken = await bench.call("GET", f"{path}?include[]=message.output_text.logprobs")
    hosted = await bench.call("GET", f"{path}?include=web_search_call.results")

    assert taken.status == 200
    assert is_error(hosted, 400, "unsupported_value")


@pytest.mark.parametrize(
    ("tier", "told", "lane"),
    [("fast", "priority", ".high"), ("flex", "flex", ".low"), ("auto", "default", "")],
)
async def test_tier_is_told_as_the_response_runs(
    bench: GatewayBench, tier: str, told: str, lane: str
) -> None:
    reply = await bench.call("POST", PATH, {**HELLO, "service_tier": tier, "background": True})

    assert reply.json["service_tier"] == told
    assert bench.kafka.records(f"ai.chat.requests.v1{lane}")
