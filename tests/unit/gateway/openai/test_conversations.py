"""`/v1/conversations`: begun, read, changed, deleted; changes run by the worker's own rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from penstock_contracts.credentials import Scope
from penstock_contracts.topics import CONTROL

from tests.support.conversation_worker import ConversationWorker
from tests.support.gateway import GatewayBench, make_bench

PATH = "/v1/conversations"
HELLO = {"type": "message", "role": "user", "content": "Hello"}


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench(conversation_patience=timedelta(seconds=0.05))


@pytest.fixture
async def worker(bench: GatewayBench) -> AsyncIterator[ConversationWorker]:
    async with ConversationWorker(bench) as working:
        yield working


def written(bench: GatewayBench) -> int:
    return len(bench.kafka.records("ai.chat.requests.v1"))


async def begun(bench: GatewayBench, **body: Any) -> str:
    reply = await bench.call("POST", PATH, body)
    assert reply.status == 200, reply.body
    return str(reply.json["id"])


async def test_empty_conversation_is_its_id_and_nothing_is_written(bench: GatewayBench) -> None:
    reply = await bench.call("POST", PATH, {})
    again = await bench.call("GET", f"{PATH}/{reply.json['id']}")
    items = await bench.call("GET", f"{PATH}/{reply.json['id']}/items")

    created_at = int(bench.clock.now().timestamp())
    assert reply.json == {
        "id": reply.json["id"],
        "object": "conversation",
        "created_at": created_at,
        "metadata": {},
    }
    assert again.json == reply.json
    assert items.json == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    assert written(bench) == 0


async def test_conversation_without_any_body_is_empty(bench: GatewayBench) -> None:
    assert (await bench.call("POST", PATH)).status == 200


@pytest.mark.usefixtures("worker")
async def test_items_are_added_listed_got_and_deleted(bench: GatewayBench) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    told = {"type": "function_call_output", "call_id": "c1", "output": "42"}
    conversation = await begun(bench, items=[HELLO], metadata={"topic": "demo"})
    path = f"{PATH}/{conversation}"

    added = await bench.call("POST", f"{path}/items", {"items": [call, told]})
    listed = await bench.call("GET", f"{path}/items?order=asc")
    page = await bench.call("GET", f"{path}/items?limit=2")
    rest = await bench.call("GET", f"{path}/items?after={page.json['last_id']}")
    one = await bench.call("GET", f"{path}/items/{added.json['first_id']}")
    gone = await bench.call("DELETE", f"{path}/items/{added.json['first_id']}")
    missing = await bench.call("GET", f"{path}/items/{added.json['first_id']}")

    assert [item["type"] for item in listed.json["data"]] == [
        "message",
        "function_call",
        "function_call_output",
    ]
    assert added.json["data"] == listed.json["data"][1:]
    assert listed.json["data"][0]["content"] == [{"type": "input_text", "text": "Hello"}]
    assert [item["type"] for item in page.json["data"]] == ["function_call_output", "function_call"]
    assert page.json["has_more"] is True
    assert [item["type"] for item in rest.json["data"]] == ["message"]
    assert one.json == added.json["data"][0]
    assert gone.json["id"] == conversation
    assert gone.json["metadata"] == {"topic": "demo"}
    assert (missing.status, missing.code) == (404, "item_not_found")


async def test_metadata_takes_the_place_of_what_there_was(
    bench: GatewayBench, worker: ConversationWorker
) -> None:
    conversation = await begun(bench, metadata={"a": "1", "b": "2"})
    reply = await bench.call("POST", f"{PATH}/{conversation}", {"metadata": {"c": "3"}})
    cleared = await bench.call("POST", f"{PATH}/{conversation}", {"metadata": None})

    assert reply.json["metadata"] == {"c": "3"}
    assert reply.headers["x-penstock-job"] == worker.jobs[1]
    assert cleared.json["metadata"] == {}


@pytest.mark.usefixtures("worker")
async def test_deleted_conversation_is_not_found_any_more(bench: GatewayBench) -> None:
    conversation = await begun(bench, items=[HELLO])
    reply = await bench.call("DELETE", f"{PATH}/{conversation}")
    replies = [
        await bench.call("GET", f"{PATH}/{conversation}"),
        await bench.call("GET", f"{PATH}/{conversation}/items"),
        await bench.call("DELETE", f"{PATH}/{conversation}"),
        await bench.call("POST", f"{PATH}/{conversation}/items", {"items": [HELLO]}),
    ]

    assert reply.json == {"id": conversation, "object": "conversation.deleted", "deleted": True}
    assert {(found.status, found.code) for found in replies} == {(404, "conversation_not_found")}


@pytest.mark.usefixtures("worker")
async def test_repeated_key_gives_the_same_conversation_once(bench: GatewayBench) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await bench.call("POST", PATH, {"items": [HELLO]}, headers=key)
    second = await bench.call("POST", PATH, {"items": [HELLO]}, headers=key)
    other = await bench.call("POST", PATH, {}, headers=key)
    items = await bench.call("GET", f"{PATH}/{first.json['id']}/items")

    assert second.json == first.json
    assert second.headers["idempotent-replayed"] == "true"
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert len(items.json["data"]) == 1


@pytest.mark.usefixtures("worker")
async def test_ids_are_bound_to_their_tenant_and_content_to_its_user(bench: GatewayBench) -> None:
    conversation = await begun(bench, items=[HELLO])
    forged = conversation[:-1] + ("0" if conversation[-1] != "0" else "1")
    foreign = bench.new_key(tenant="other")
    bob = bench.new_key(user="bob")
    boss = bench.new_key(user="boss", scope=Scope.TENANT)

    replies = [
        await bench.call("GET", f"{PATH}/{forged}"),
        await bench.call("GET", f"{PATH}/conv_nonsense"),
        await bench.call("GET", f"{PATH}/{conversation}", key=foreign),
        await bench.call("GET", f"{PATH}/{conversation}/items", key=bob),
    ]

    assert {(found.status, found.code) for found in replies} == {(404, "conversation_not_found")}
    assert (await bench.call("GET", f"{PATH}/{conversation}", key=boss)).status == 200


async def test_old_id_that_nothing_is_known_of_is_not_found(bench: GatewayBench) -> None:
    conversation = await begun(bench)
    bench.clock.advance(timedelta(days=31))

    assert (await bench.call("GET", f"{PATH}/{conversation}")).status == 404


async def test_change_that_waits_behind_a_turn_is_called_back_and_says_so(
    bench: GatewayBench,
) -> None:
    conversation = await begun(bench)
    reply = await bench.call("POST", f"{PATH}/{conversation}/items", {"items": [HELLO]})

    assert (reply.status, reply.code) == (504, "still_running")
    assert len(bench.kafka.records(CONTROL.name)) == 1, "the worker was told"


async def test_view_when_redis_lost_it_is_read_back_by_a_worker_first(
    bench: GatewayBench, worker: ConversationWorker
) -> None:
    conversation = await begun(bench)
    bench.conversations.is_complete = False

    reply = await bench.call("GET", f"{PATH}/{conversation}")

    assert reply.status == 200
    assert len(worker.jobs) == 1


async def test_view_when_redis_is_away_is_said_and_can_be_tried_again(bench: GatewayBench) -> None:
    conversation = await begun(bench)
    bench.conversations.is_away = True

    reply = await bench.call("GET", f"{PATH}/{conversation}")

    assert (reply.status, reply.code) == (503, "table_unavailable")


IMAGE = {"role": "user", "content": [{"type": "input_image", "image_url": "https://x.org/y.png"}]}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ([], "invalid_type", None),
        ({"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "object_above_max_properties", "metadata"),
        ({"items": []}, "empty_array", "items"),
        ({"items": [HELLO] * 21}, "array_above_max_length", "items"),
        ({"items": "hello"}, "invalid_value", "items"),
        ({"items": [IMAGE]}, "unsupported_value", "items[0].content[0].type"),
        ({"items": [{"type": "web_search_call"}]}, "unsupported_value", "items[0].type"),
        ({"items": [{"type": "item_reference", "id": "x"}]}, "unsupported_value", "items"),
        ({"items": [{"type": None, "id": "x"}]}, "unsupported_value", "items"),
        ({"items": [{"id": "x"}]}, "unsupported_value", "items"),
        ({"name": "x"}, "unknown_parameter", "name"),
    ],
)
async def test_wrong_body_is_refused_by_name(
    bench: GatewayBench, body: Any, code: str, param: str | None
) -> None:
    reply = await bench.call("POST", PATH, body)

    assert (reply.status, reply.code, reply.json["error"]["param"]) == (400, code, param)
    assert written(bench) == 0


async def test_turn_tells_the_tier_of_its_lane_whatever_was_asked_for() -> None:
    bench = await make_bench(models=["m"])
    conversation = await begun(bench)
    body = {"model": "m", "input": "hi", "conversation": conversation, "background": True}

    reply = await bench.call("POST", "/v1/responses", {**body, "service_tier": "priority"})

    assert (reply.status, reply.json["service_tier"]) == (200, "default")
    assert bench.kafka.records("ai.chat.requests.v1")


async def test_turn_without_input_goes_on_from_its_conversation() -> None:
    bench = await make_bench(models=["m"])
    body = {"model": "m", "conversation": await begun(bench), "input": [], "background": True}

    reply = await bench.call("POST", "/v1/responses", body)
    instructed = await bench.call("POST", "/v1/responses", {**body, "instructions": "Go on."})

    assert (reply.status, instructed.status) == (200, 200)
    sent = [orjson.loads(r.value or b"") for r in bench.kafka.records("ai.chat.requests.v1")]
    assert [value["input"]["messages"] for value in sent] == [
        [{"role": "user", "content": ""}],
        [{"role": "system", "content": "Go on."}],
    ]


async def test_items_are_listed_with_what_a_body_may_include(bench: GatewayBench) -> None:
    conversation = await begun(bench)

    reply = await bench.call("GET", f"{PATH}/{conversation}/items?include[]=everything")

    assert (reply.status, reply.json["error"]["param"]) == (400, "include[0]")
