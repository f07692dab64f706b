"""`/v1/webhook_endpoints`: who may, what is refused, and that no secret is ever seen twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from penstock_contracts.codec import encode_model
from penstock_contracts.credentials import Scope
from penstock_contracts.topics import WEBHOOK_DELIVERIES, WEBHOOK_ENDPOINTS
from penstock_contracts.webhooks import SuspensionReason, WebhookSuspension, webhook_key
from penstock_kit.kafka.ports import BrokerFault, ProducerFull
from penstock_kit.webhooks.secrets import WebhookSecrets
from penstock_kit.webhooks.table import endpoint_record
from standardwebhooks import Webhook

from tests.support.gateway import ID_SECRET, GatewayBench, Reply, make_bench
from tests.support.hostile_urls import HOSTILE_URLS

PATH = "/v1/webhook_endpoints"
URL = "https://hooks.example.com/in?token=very-secret"


@pytest.fixture
async def bench() -> GatewayBench:
    made = await make_bench()
    made.key = made.new_key(scope=Scope.TENANT)
    return made


async def create(bench: GatewayBench, *, key: str | None = None, **body: Any) -> Reply:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await bench.call("POST", PATH, {"url": URL, **body}, headers=headers)


async def test_endpoint_is_made_with_a_usable_secret_that_nothing_else_ever_shows(
    bench: GatewayBench,
) -> None:
    reply = await create(bench, events=["response.*"], description="billing")

    made = reply.json
    assert reply.status == 201
    assert reply.headers["cache-control"] == "no-store"
    assert (made["object"], made["url"], made["events"]) == (
        "webhook_endpoint",
        URL,
        ["response.*"],
    )
    assert (made["enabled"], made["suspended"], made["last_success_at"]) == (True, None, None)
    assert Webhook(made["secret"]).sign("a", bench.clock.now(), "{}").startswith("v1,")
    one = await bench.call("GET", f"{PATH}/{made['id']}")
    every = await bench.call("GET", PATH)
    changed = await bench.call("PATCH", f"{PATH}/{made['id']}", {"description": "x"})
    assert (one.status, every.status, changed.status) == (200, 200, 200)
    assert every.json["data"][0]["id"] == made["id"]
    for answer in (one, every, changed):
        assert b"whsec_" not in answer.body
    for record in bench.kafka.records(WEBHOOK_ENDPOINTS.name):
        assert made["secret"].removeprefix("whsec_").encode() not in (record.value or b"")


async def test_users_key_may_do_nothing_here(bench: GatewayBench) -> None:
    made = (await create(bench)).json
    bench.key = bench.new_key(scope=Scope.USER)

    answers = [
        await create(bench),
        await bench.call("GET", PATH),
        await bench.call("GET", f"{PATH}/{made['id']}"),
        await bench.call("PATCH", f"{PATH}/{made['id']}", {}),
        await bench.call("DELETE", f"{PATH}/{made['id']}"),
        await bench.call("POST", f"{PATH}/{made['id']}/rotate_secret"),
        await bench.call("POST", f"{PATH}/{made['id']}/test", {}),
    ]

    assert [(answer.status, answer.code) for answer in answers] == [(403, "insufficient_scope")] * 7


async def test_other_tenants_endpoints_do_not_exist(bench: GatewayBench) -> None:
    made = (await create(bench)).json
    bench.key = bench.new_key(tenant="rival", scope=Scope.TENANT)

    assert (await bench.call("GET", PATH)).json["data"] == []
    for method, path in (
        ("GET", made["id"]),
        ("PATCH", made["id"]),
        ("DELETE", made["id"]),
        ("POST", f"{made['id']}/rotate_secret"),
        ("POST", f"{made['id']}/test"),
        ("GET", "we_" + "0" * 32),
    ):
        answer = await bench.call(method, f"{PATH}/{path}", None if method == "GET" else {})
        assert (answer.status, answer.code) == (404, "webhook_endpoint_not_found")


@pytest.mark.parametrize("url", HOSTILE_URLS[::5])
async def test_url_that_leads_inside_is_refused_by_name(bench: GatewayBench, url: str) -> None:
    answer = await create(bench, url=url)

    assert answer.status == 400
    assert answer.json["error"]["param"] == "url"
    assert bench.kafka.records(WEBHOOK_ENDPOINTS.name) == []


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"url": None}, "invalid_type", "url"),
        ({"url": 7}, "invalid_type", "url"),
        ({"events": []}, "empty_array", "events"),
        ({"events": "response.completed"}, "invalid_type", "events"),
        ({"events": ["response.complete"]}, "invalid_value", "events[0]"),
        ({"events": ["*", "fine_tuning.*"]}, "invalid_value", "events[1]"),
        ({"events": ["re*"]}, "invalid_value", "events[0]"),
        ({"description": "a" * 513}, "string_above_max_length", "description"),
        ({"enabled": "yes"}, "invalid_type", "enabled"),
        ({"secret": "whsec_x"}, "unknown_parameter", "secret"),
    ],
)
async def test_wrong_field_is_refused_by_name(
    bench: GatewayBench, body: dict[str, Any], code: str, param: str
) -> None:
    answer = await create(bench, **body)

    error = answer.json["error"]
    assert (answer.status, error["code"], error["param"]) == (400, code, param)


async def test_same_key_gives_the_same_endpoint_with_its_secret(bench: GatewayBench) -> None:
    first = await create(bench, key="k1")
    again = await create(bench, key="k1")
    other_body = await create(bench, key="k1", description="other")
    other_key = await create(bench, key="k2")

    assert again.json == first.json
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert (other_body.status, other_body.code) == (422, "idempotency_key_reused")
    assert other_key.json["id"] != first.json["id"]
    bench.clock.advance(timedelta(hours=25))
    assert (await create(bench, key="k1")).json["secret"] is None


async def test_rotation_gives_a_new_secret_and_tells_how_long_the_old_one_signs(
    bench: GatewayBench,
) -> None:
    made = (await create(bench)).json
    path = f"{PATH}/{made['id']}/rotate_secret"

    rotated = await bench.call("POST", path, headers={"Idempotency-Key": "r1"})
    again = await bench.call("POST", path, headers={"Idempotency-Key": "r1"})
    more = await bench.call("POST", path, headers={"Idempotency-Key": "r2"})

    now = int(bench.clock.now().timestamp())
    assert rotated.json["old_secret_signs_until"] == now + 24 * 3600
    assert again.json["secret"] == rotated.json["secret"]
    assert again.headers["idempotent-replayed"] == "true"
    assert len({made["secret"], rotated.json["secret"], more.json["secret"]}) == 3


@pytest.mark.parametrize("keeps", [True, False])
async def test_rotation_with_the_key_of_another_body_is_refused(
    bench: GatewayBench, keeps: bool
) -> None:
    """Or somebody would believe that a leaked secret signs no more."""
    made = (await create(bench)).json
    path, key = f"{PATH}/{made['id']}/rotate_secret", {"Idempotency-Key": "r1"}
    name = "keep_old_secret_active_for_24_hours"

    rotated = await bench.call("POST", path, {name: keeps}, headers=key)
    again = await bench.call("POST", path, {name: keeps}, headers=key)
    other = await bench.call("POST", path, {name: not keeps}, headers=key)

    assert again.json == rotated.json
    assert (other.status, other.code) == (422, "idempotency_key_reused")


async def test_key_of_a_deleted_endpoint_makes_none_with_its_secret(bench: GatewayBench) -> None:
    made = (await create(bench, key="k1")).json
    await bench.call("DELETE", f"{PATH}/{made['id']}")

    again = await create(bench, key="k1")
    other = await create(bench, key="k2")

    assert (again.status, again.code) == (422, "idempotency_key_reused")
    assert other.json["secret"] != made["secret"]


async def test_patch_changes_what_it_names_and_checks_it(bench: GatewayBench) -> None:
    made = (await create(bench)).json
    path = f"{PATH}/{made['id']}"

    changed = await bench.call("PATCH", path, {"events": ["batch.*"], "enabled": False})
    refused = await bench.call("PATCH", path, {"url": "https://10.0.0.1/"})

    assert changed.json == {
        **{name: made[name] for name in made.keys() - {"secret", "signing_secret"}},
        "events": ["batch.*"],
        "event_types": ["batch.*"],
        "enabled": False,
    }
    assert refused.json["error"]["param"] == "url"


async def test_both_spellings_of_a_field_are_the_same_request(bench: GatewayBench) -> None:
    ours = await create(bench, key="k1", events=["batch.*"], description="billing")
    theirs = await create(bench, key="k1", event_types=["batch.*"], name="billing")

    assert theirs.json == ours.json
    assert theirs.headers["idempotent-replayed"] == "true"
    assert (theirs.json["event_types"], theirs.json["name"]) == (["batch.*"], "billing")
    assert theirs.json["signing_secret"] == theirs.json["secret"]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"event_types": ["re*"]}, "invalid_value", "event_types[0]"),
        ({"name": 7}, "invalid_type", "name"),
        ({"name": "a", "description": "a"}, "unknown_parameter", "name"),
    ],
)
async def test_wrong_field_is_refused_by_the_name_that_was_sent(
    bench: GatewayBench, body: dict[str, Any], code: str, param: str
) -> None:
    answer = await create(bench, **body)

    error = answer.json["error"]
    assert (answer.status, error["code"], error["param"]) == (400, code, param)


async def test_rotation_that_keeps_nothing_ends_the_old_secret_at_once(
    bench: GatewayBench,
) -> None:
    made = (await create(bench)).json
    path = f"{PATH}/{made['id']}/rotate_secret"
    await bench.call("POST", path, {"keep_old_secret_active_for_24_hours": True})

    rotated = await bench.call("POST", path, {"keep_old_secret_active_for_24_hours": False})
    wrong = await bench.call("POST", path, {"keep_old_secret": False})

    view = bench.inside.webhooks.get(made["id"])
    assert view is not None
    secrets = WebhookSecrets(ID_SECRET.encode())
    now = bench.clock.now()
    assert rotated.json["old_secret_signs_until"] is None
    assert secrets.signing(view.endpoint, now=now) == [rotated.json["secret"]]
    assert (wrong.status, wrong.code) == (400, "unknown_parameter")


async def test_secret_that_another_gateway_gave_out_survives_a_change_here(
    bench: GatewayBench,
) -> None:
    made = (await create(bench)).json
    view = bench.inside.webhooks.get(made["id"])
    assert view is not None
    rotated = view.endpoint.model_copy(update={"generation": 2})
    record = endpoint_record(rotated, source="other", now=bench.clock.now(), event_id="1")
    other = bench.kafka.producer()
    await other.start()
    await other.send(record)

    await bench.call("PATCH", f"{PATH}/{made['id']}", {"description": "x"})
    here = await bench.call("POST", f"{PATH}/{made['id']}/rotate_secret")

    present = bench.inside.webhooks.get(made["id"])
    assert present is not None
    assert (present.endpoint.generation, present.endpoint.description) == (3, "x")
    secrets = WebhookSecrets(ID_SECRET.encode())
    assert secrets.signing(present.endpoint, now=bench.clock.now()) == [
        here.json["secret"],
        secrets.present(rotated),
    ]


async def test_listing_goes_page_by_page_where_it_is_asked_to(bench: GatewayBench) -> None:
    ids = [(await create(bench)).json["id"] for _ in range(3)]
    every = await bench.call("GET", PATH)

    first = await bench.call("GET", f"{PATH}?limit=2")
    rest = await bench.call("GET", f"{PATH}?limit=2&after={first.json['last_id']}")
    lost = await bench.call("GET", f"{PATH}?after=we_0")

    assert {one["id"] for one in every.json["data"]} == set(ids)
    assert (every.json["has_more"], first.json["has_more"], rest.json["has_more"]) == (
        False,
        True,
        False,
    )
    assert first.json["data"] + rest.json["data"] == every.json["data"]
    assert (lost.status, lost.json["error"]["param"]) == (400, "after")


async def test_event_types_are_listed_and_each_can_be_wanted(bench: GatewayBench) -> None:
    listed = await bench.call("GET", "/v1/webhook_event_types")

    made = await create(bench, event_types=listed.json["data"])
    assert listed.json["object"] == "list"
    assert made.json["events"] == listed.json["data"]


async def test_suspension_is_told_and_ends_by_enabling_again(bench: GatewayBench) -> None:
    made = (await create(bench)).json
    stop = WebhookSuspension(
        endpoint=made["id"],
        tenant="acme",
        enablement=1,
        reason=SuspensionReason.GONE,
        at=bench.clock.now(),
    )
    bench.inside.webhooks.apply(webhook_key(stop), encode_model(stop))
    path = f"{PATH}/{made['id']}"

    seen = await bench.call("GET", path)
    test = await bench.call("POST", f"{path}/test", {})
    enabled = await bench.call("PATCH", path, {"enabled": True})

    assert seen.json["suspended"]["reason"] == "gone"
    assert (test.status, test.code) == (400, "webhook_endpoint_disabled")
    assert enabled.json["suspended"] is None
    assert (await bench.call("POST", f"{path}/test", {})).status == 202


async def test_test_writes_one_delivery_each_with_an_id_of_its_own(bench: GatewayBench) -> None:
    made = (await create(bench, events=["batch.*"])).json
    path = f"{PATH}/{made['id']}/test"

    plain = await bench.call("POST", path)
    typed = await bench.call("POST", path, {"type": "response.completed"})
    wrong = await bench.call("POST", path, {"type": "response.complete"})

    assert (plain.status, typed.status, wrong.status) == (202, 202, 400)
    written = [
        orjson.loads(record.value or b"") for record in bench.kafka.records(WEBHOOK_DELIVERIES.name)
    ]
    assert [(one["id"], one["type"]) for one in written] == [
        (plain.json["event_id"], "webhook.test"),
        (typed.json["event_id"], "response.completed"),
    ]
    assert written[0]["id"] != written[1]["id"]


async def test_deleted_endpoint_is_gone(bench: GatewayBench) -> None:
    made = (await create(bench)).json

    deleted = await bench.call("DELETE", f"{PATH}/{made['id']}")
    again = await bench.call("DELETE", f"{PATH}/{made['id']}")

    assert deleted.json == {
        "id": made["id"],
        "object": "webhook_endpoint.deleted",
        "deleted": True,
    }
    assert again.status == 404
    assert bench.kafka.records(WEBHOOK_ENDPOINTS.name)[-1].value is None


async def test_tenant_has_its_number_of_endpoints() -> None:
    bench = await make_bench()
    bench.key = bench.new_key(scope=Scope.ADMIN)
    for _ in range(50):
        assert (await create(bench)).status == 201

    answer = await create(bench)

    assert (answer.status, answer.code) == (400, "too_many_webhook_endpoints")


@pytest.mark.parametrize("fault", [ProducerFull("full; wait"), BrokerFault("fenced; restart")])
async def test_log_that_does_not_answer_is_told_and_nothing_is_known(
    bench: GatewayBench, fault: Exception
) -> None:
    bench.kafka.faults.on_send = lambda _: fault

    answer = await create(bench)

    assert (answer.status, answer.code) == (503, "broker_busy")
    assert (await bench.call("GET", PATH)).json["data"] == []
