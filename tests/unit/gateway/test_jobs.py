"""Looking at jobs, their results and lists: who sees what, and what is said in bad times."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from penstock_contracts.control import ControlAdapter
from penstock_contracts.credentials import Scope
from penstock_contracts.events import Cancelled, JobStatus, Queued
from penstock_contracts.ids import JobIds, derived_job_id, new_uuid7
from penstock_contracts.parts import BlobRef, JobError
from penstock_contracts.state import JobState
from penstock_contracts.topics import CONTROL
from penstock_kit.tenancy import TenantScope

from tests.support.gateway import ID_SECRET, GatewayBench, OpenCall, make_bench

CHAT: dict[str, Any] = {"task": "chat", "input": "hi"}
OUTPUT = {"kind": "chat", "choices": [{"index": 0, "text": "ho", "finish_reason": "stop"}]}


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench()


async def submitted(bench: GatewayBench) -> str:
    return str((await bench.call("POST", "/v1/jobs", CHAT)).json["id"])


def fold(bench: GatewayBench, job: str, status: JobStatus, **members: Any) -> None:
    state = {"job": job, "tenant": "acme", "user": "ann", "task": "chat", "status": status}
    bench.table.states[job] = JobState.model_validate({**state, **members})


def issued_id(bench: GatewayBench, *, tenant: str = "acme", age: timedelta = timedelta(0)) -> str:
    now_ms = int((bench.clock.now() - age).timestamp() * 1000)
    return JobIds(ID_SECRET.encode()).issue(
        tenant=tenant, uuid=new_uuid7(now_ms=now_ms, randomness=b"0123456789")
    )


async def test_get_when_nobody_has_folded_the_job_says_queued(bench: GatewayBench) -> None:
    job = await submitted(bench)

    reply = await bench.call("GET", f"/v1/jobs/{job}")

    assert (reply.status, reply.json["status"]) == (200, "queued")


async def test_get_when_the_end_is_in_the_log_waits_until_the_table_has_it(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submitted(bench)
    fold(bench, job, JobStatus.RUNNING)
    ended = Cancelled(job=job, attempt=1, seq=2, at=bench.clock.now(), by="ann")
    bench.feed(ended)
    looked, look = asyncio.Event(), bench.table.get

    async def get(scope: TenantScope, job_id: str) -> JobState | None:
        state = await look(scope, job_id)
        looked.set()
        return state

    monkeypatch.setattr(bench.table, "get", get)

    asking = asyncio.create_task(bench.call("GET", f"/v1/jobs/{job}"))
    await looked.wait()
    fold(bench, job, JobStatus.CANCELLED)

    assert (await asking).json["status"] == "cancelled"


async def test_get_when_another_gateway_issued_the_id_says_queued(bench: GatewayBench) -> None:
    reply = await bench.call("GET", f"/v1/jobs/{issued_id(bench)}")

    assert (reply.status, reply.json["status"]) == (200, "queued")


async def test_get_when_another_gateway_took_the_job_tells_when(bench: GatewayBench) -> None:
    created_at = bench.clock.now()
    job = issued_id(bench)
    bench.clock.advance(timedelta(seconds=5))
    bench.feed(Queued(job=job, attempt=0, seq=1, at=created_at, task="chat", user="ann"))

    reply = await bench.call("GET", f"/v1/jobs/{job}")

    assert datetime.fromisoformat(reply.json["created_at"]) == created_at


async def test_events_when_only_the_id_is_known_are_those_of_the_callers_own_job(
    bench: GatewayBench,
) -> None:
    job = issued_id(bench)
    owner = OpenCall(bench, f"/v1/jobs/{job}/events")
    bench.key = bench.new_key(user="bob")
    stranger = OpenCall(bench, f"/v1/jobs/{job}/events")
    for stream in (owner, stranger):
        await stream.until("event: snapshot")

    bench.feed(Cancelled(job=job, attempt=1, seq=1, at=bench.clock.now(), by="ann"), user="ann")
    told = await owner.end()
    bench.follower.drain()

    assert "event: cancelled" in told
    assert "event: cancelled" not in await stranger.end()


@pytest.mark.parametrize(("user", "status"), [("ann", 202), ("bob", 404)])
async def test_cancel_when_only_the_id_is_known_waits_for_whose_job_it_is(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch, user: str, status: int
) -> None:
    job = issued_id(bench)
    looked, look = asyncio.Event(), bench.table.get

    async def get(scope: TenantScope, job_id: str) -> JobState | None:
        state = await look(scope, job_id)
        looked.set()
        return state

    monkeypatch.setattr(bench.table, "get", get)

    key = bench.new_key(user=user)
    asking = asyncio.create_task(bench.call("POST", f"/v1/jobs/{job}/cancel", key=key))
    await looked.wait()
    fold(bench, job, JobStatus.RUNNING)

    assert (await asking).status == status
    assert len(bench.kafka.records(CONTROL.name)) == (1 if user == "ann" else 0)


async def test_cancel_when_it_stays_unknown_whose_job_it_is_does_nothing(
    bench: GatewayBench,
) -> None:
    reply = await bench.call("POST", f"/v1/jobs/{issued_id(bench)}/cancel")

    assert (reply.status, reply.code) == (503, "table_unavailable")
    assert not bench.kafka.records(CONTROL.name)


async def test_get_when_job_is_not_the_callers_is_as_if_never_issued(bench: GatewayBench) -> None:
    job = await submitted(bench)
    folded = await submitted(bench)
    fold(bench, folded, JobStatus.RUNNING)
    others = [
        bench.new_key(user="bob"),
        bench.new_key(tenant="other", user="ann"),
        bench.new_key(tenant="other", user="root", scope=Scope.ADMIN),
    ]
    never = "job_" + "0" * 42
    expected = await bench.call("GET", f"/v1/jobs/{never}")

    for key in others:
        for target in (job, folded):
            for method, path in (
                ("GET", ""),
                ("GET", "/result"),
                ("GET", "/events"),
                ("POST", "/cancel"),
            ):
                reply = await bench.call(method, f"/v1/jobs/{target}{path}", key=key)
                assert (reply.status, reply.code) == (404, "job_not_found")
                assert reply.json["detail"] == expected.json["detail"]
    assert expected.status == 404
    assert not bench.kafka.records(CONTROL.name)


async def test_get_when_caller_holds_a_tenant_key_sees_all_users(bench: GatewayBench) -> None:
    job = await submitted(bench)
    key = bench.new_key(user="boss", scope=Scope.TENANT)

    assert (await bench.call("GET", f"/v1/jobs/{job}", key=key)).status == 200


@pytest.mark.parametrize(
    "job", ["x", "job_", "job_zz", "job_" + "0" * 31, "job_" + "A" * 32, "%00", "job_" + "0" * 500]
)
async def test_get_when_id_has_no_form_answers_404(bench: GatewayBench, job: str) -> None:
    reply = await bench.call("GET", f"/v1/jobs/{job}")

    assert (reply.status, reply.code) == (404, "job_not_found")


async def test_get_when_id_is_beyond_retention_answers_404(bench: GatewayBench) -> None:
    reply = await bench.call("GET", f"/v1/jobs/{issued_id(bench, age=timedelta(days=31))}")

    assert reply.status == 404


async def test_get_when_table_is_away_answers_young_ids_only(bench: GatewayBench) -> None:
    job = await submitted(bench)
    bench.table.is_away = True
    old = issued_id(bench, age=timedelta(hours=1))
    derived = derived_job_id(tenant="acme", source="/x", event_id="1")

    young = await bench.call("GET", f"/v1/jobs/{job}")
    replies = [await bench.call("GET", f"/v1/jobs/{target}") for target in (old, derived)]

    assert (young.status, young.json["status"]) == (200, "queued")
    for reply in replies:
        assert (reply.status, reply.code) == (503, "table_unavailable")
        assert int(reply.headers["retry-after"]) >= 1
        assert int(reply.headers["retry-after-ms"]) >= 1
        assert reply.headers["x-should-retry"] == "true"


async def test_submit_when_table_is_away_is_accepted(bench: GatewayBench) -> None:
    bench.table.is_away = True

    assert (await bench.call("POST", "/v1/jobs", CHAT)).status == 202


async def test_result_when_job_is_not_over_answers_409(bench: GatewayBench) -> None:
    job = await submitted(bench)

    reply = await bench.call("GET", f"/v1/jobs/{job}/result")

    assert (reply.status, reply.code) == (409, "not_completed")
    assert reply.json["status_of_job"] == "queued"


async def test_result_when_completed_is_the_output(bench: GatewayBench) -> None:
    job = await submitted(bench)
    fold(bench, job, JobStatus.COMPLETED, output=OUTPUT)

    reply = await bench.call("GET", f"/v1/jobs/{job}/result")

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json["choices"][0]["text"] == "ho"


async def test_result_when_large_comes_from_the_blob_store(bench: GatewayBench) -> None:
    job = await submitted(bench)
    data = json.dumps({**OUTPUT, "padding": "x" * 300_000}).encode()
    bench.blobs.stored["place"] = data
    ref = BlobRef(path="place", sha256="0" * 64, size_bytes=len(data))
    fold(bench, job, JobStatus.COMPLETED, output_ref=ref)

    reply = await bench.call("GET", f"/v1/jobs/{job}/result")

    assert (reply.status, reply.body) == (200, data)


async def test_result_when_blob_store_is_away_answers_503(bench: GatewayBench) -> None:
    job = await submitted(bench)
    ref = BlobRef(path="place", sha256="0" * 64, size_bytes=1)
    fold(bench, job, JobStatus.COMPLETED, output_ref=ref)
    bench.blobs.is_away = True

    reply = await bench.call("GET", f"/v1/jobs/{job}/result")

    assert (reply.status, reply.code) == (503, "blobs_unavailable")


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (JobStatus.FAILED, 424),
        (JobStatus.CANCELLED, 410),
        (JobStatus.EXPIRED, 410),
        (JobStatus.UNKNOWN_OUTCOME, 409),
    ],
)
async def test_result_when_job_ended_otherwise_answers_its_error(
    bench: GatewayBench, status: JobStatus, answer: int
) -> None:
    job = await submitted(bench)
    error = JobError(type="rate_limit_error", code="provider_busy", message="try another model")
    fold(bench, job, status, error=error)

    reply = await bench.call("GET", f"/v1/jobs/{job}/result")

    assert reply.status == answer
    assert reply.headers["content-type"] == "application/problem+json"
    if status in (JobStatus.FAILED, JobStatus.UNKNOWN_OUTCOME):
        assert reply.json["error"]["code"] == "provider_busy"


async def test_submit_when_input_is_large_travels_by_claim_check(bench: GatewayBench) -> None:
    text = "x" * 300_000

    reply = await bench.call("POST", "/v1/jobs", {"task": "chat", "input": text})

    assert reply.status == 202
    (record,) = bench.kafka.records("ai.chat.requests.v1")
    assert record.value is not None
    request = json.loads(record.value)
    assert "input" not in request
    stored = json.loads(bench.blobs.stored[request["input_ref"]["path"]])
    assert stored["messages"][0]["content"] == text


async def test_submit_when_blob_store_is_away_answers_503(bench: GatewayBench) -> None:
    bench.blobs.is_away = True

    reply = await bench.call("POST", "/v1/jobs", {"task": "chat", "input": "x" * 300_000})

    assert (reply.status, reply.code) == (503, "blobs_unavailable")
    assert not bench.kafka.records("ai.chat.requests.v1")


async def test_cancel_when_queued_tells_every_worker(bench: GatewayBench) -> None:
    job = await submitted(bench)

    reply = await bench.call("POST", f"/v1/jobs/{job}/cancel")

    assert reply.status == 202
    (record,) = bench.kafka.records(CONTROL.name)
    assert record.value is not None
    order = ControlAdapter.validate_json(record.value)
    assert record.key == f"cancel:{job}".encode()
    assert (order.type, order.tenant, order.by) == ("cancel", "acme", "ann")  # type: ignore[union-attr]  # it is a cancel


async def test_cancel_when_job_is_over_leaves_it_as_it_is(bench: GatewayBench) -> None:
    job = await submitted(bench)
    fold(bench, job, JobStatus.COMPLETED, output=OUTPUT)

    reply = await bench.call("POST", f"/v1/jobs/{job}/cancel")

    assert (reply.status, reply.json["status"]) == (200, "completed")
    assert not bench.kafka.records(CONTROL.name)


async def test_list_when_there_are_more_links_to_the_next_page(bench: GatewayBench) -> None:
    jobs = [await submitted(bench) for _ in range(3)]
    for job in jobs:
        fold(bench, job, JobStatus.RUNNING)

    first = await bench.call("GET", "/v1/jobs?limit=2&task=chat")
    following = first.headers["link"].partition("<")[2].partition(">")[0]
    second = await bench.call("GET", following)

    assert first.json["has_more"] is True
    assert [view["id"] for view in first.json["data"] + second.json["data"]] == jobs
    assert second.json["next_cursor"] is None
    assert "link" not in second.headers


async def test_list_when_table_is_away_answers_503(bench: GatewayBench) -> None:
    bench.table.is_away = True

    assert (await bench.call("GET", "/v1/jobs")).code == "table_unavailable"


async def test_ticket_when_asked_for_stands_for_the_caller(bench: GatewayBench) -> None:
    reply = await bench.call("POST", "/v1/socket-tickets")

    assert reply.status == 201
    assert reply.json == {
        "ticket": "ticket-1",
        "expires_in": 30,
        "url": "ws://notifier/v1/socket?ticket=ticket-1",
    }
    assert bench.tickets.issued[0].user == "ann"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("", "missing_credentials"),
        ("Basic dXNlcjpwYXNz", "missing_credentials"),
        ("Bearer ", "missing_credentials"),
        ("Bearer pk_nobody.secretsecretsecret", "invalid_api_key"),
        ("Bearer \xff\xfe", "invalid_api_key"),
        ("Bearer a.b.c", "invalid_token"),
    ],
)
async def test_any_call_without_good_credentials_answers_401(
    bench: GatewayBench, sent: str, code: str
) -> None:
    reply = await bench.call("GET", "/v1/jobs", headers={"authorization": sent})

    assert (reply.status, reply.code) == (401, code)
    assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_any_call_with_an_expired_key_says_so(bench: GatewayBench) -> None:
    key = bench.new_key(lifetime=timedelta(hours=1))
    bench.clock.advance(timedelta(hours=2))

    reply = await bench.call("POST", "/v1/jobs", CHAT, key=key)

    assert (reply.status, reply.code) == (401, "expired_api_key")


async def test_any_call_with_a_request_id_gets_it_back(bench: GatewayBench) -> None:
    good = await bench.call("GET", "/v1/jobs", headers={"x-request-id": "abc-1"})
    bad = await bench.call("GET", "/v1/jobs", headers={"x-request-id": "a b\x01"})

    assert good.headers["x-request-id"] == "abc-1"
    assert bad.headers["x-request-id"].startswith("req_")
