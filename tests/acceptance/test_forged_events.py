"""2,000 forged records on Kafka: nothing runs, nobody sees them, and each is counted."""

from __future__ import annotations

import asyncio
import os
import re
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from penstock import AsyncClient
from penstock.errors import ExitStatus
from penstock_contracts.envelope import Envelope, Headers, decode_event, encode_headers, sign
from penstock_contracts.ids import JobIds, derived_job_id, new_uuid7
from penstock_kit.auth.producers import producer_secret
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings

from tests.acceptance.conftest import Stack, StackStarter
from tests.support.events import an_event, as_record
from tests.support.job_records import request_record
from tests.support.provider_process import fake_provider

EACH = 200
REQUESTS = 5 * EACH
EVENT_LIES = 5 * EACH
JUNK = [(f"x-{number}", bytes(9_000)) for number in range(100)]
"""900 KB of headers: near the limit of a record."""
BIG = 20
"""As many of the requests of a kind carry the junk: the broker need not hold 200 MB for a test."""

Forgery = Callable[[int], OutRecord]


@pytest.mark.timeout(300)
async def test_forged_records_run_nothing_show_nothing_and_are_counted(
    start_stack: StackStarter, tmp_path: Path
) -> None:
    with fake_provider(tmp_path, script="tokens=20;rate=200") as provider:
        stack = start_stack(providers=provider.providers, verify_producers=True)
        assert stack.cli("token", "create", "--producer", "p", "--tenants", "dev").returncode == 0
        processes = _processes(stack)

        async with AsyncClient(stack.dev.gateway, stack.dev.api_key) as client:
            before = await client.submit("chat", "before", model="fake")
            await client.result(before.id, timeout=timedelta(seconds=60))
            forged = [*_requests(stack), *_events(stack, before.id)]
            assert len(forged) == _ALL
            await _write(stack, forged)
            during = await client.submit("chat", "during", model="fake")
            events = [event async for event in client.events(during.id)]
            await client.result(during.id, timeout=timedelta(seconds=60))
            await _until(lambda: sum(_dead(stack).values()) >= REQUESTS)

            assert {job.id for job in (await client.list(limit=100)).data} == {before.id, during.id}
            assert (await client.get(before.id)).status == "completed"
        async with AsyncClient(stack.dev.gateway, stack.dev.other_api_key) as rival:
            assert (await rival.list(limit=100)).data == []
        charged = [call["job"] for call in provider.calls() if call["event"] == "charged"]

    assert sorted(charged) == sorted([before.id, during.id])
    assert [event.job for event in events] == [during.id] * len(events)
    others = dict.fromkeys(("bad_signature", "foreign_job", "not_a_cloudevent"), EACH)
    assert _dead(stack) == {"unsigned": 2 * EACH, **others}
    assert _processes(stack) == processes
    await _until(lambda: _counted(stack, "recorder", "recorder_skipped_total") >= _ALL)
    for service in ("gateway", "notifier"):
        assert _counted(stack, service, "tail_malformed_records_total") >= EVENT_LIES


@pytest.mark.timeout(200)
async def test_letter_whose_sender_nobody_proved_runs_only_when_an_operator_signs_for_it(
    start_stack: StackStarter, tmp_path: Path
) -> None:
    with fake_provider(tmp_path, script="tokens=20;rate=200") as provider:
        stack = start_stack(providers=provider.providers, verify_producers=True)
        await _write(stack, [_request(_envelope(1, tenant="dev"))])
        await _until(lambda: _dead(stack) == {"unsigned": 1})

        refused = stack.cli("dlq", "redrive", "--code", "unsigned")
        assert refused.returncode == ExitStatus.FAILED
        assert "give --force" in refused.stdout
        done = stack.cli("dlq", "redrive", "--code", "unsigned", "--force", "--json")
        assert done.returncode == 0, done.stderr
        (row,) = orjson.loads(done.stdout)["letters"]
        async with AsyncClient(stack.dev.gateway, stack.dev.api_key) as client:
            await client.result(row["new_job"], timeout=timedelta(seconds=60))
        charged = [call["job"] for call in provider.calls() if call["event"] == "charged"]

    assert charged == [row["new_job"]]


_ALL = REQUESTS + EVENT_LIES


def _requests(stack: Stack) -> list[OutRecord]:
    """Request events that lie about who sends them."""
    secret = producer_secret(stack.dev.id_secret.encode(), "p")
    rival, ids = stack.dev.other_tenant, JobIds(stack.dev.id_secret.encode())

    def unsigned(number: int) -> OutRecord:
        return _request(_envelope(number, tenant="dev"))

    def unsigned_and_big(number: int) -> OutRecord:
        record = _request(_envelope(number, tenant=rival))
        return replace(record, headers=[*record.headers, *JUNK[: 100 if number < BIG else 1]])

    def for_a_tenant_that_is_not_his(number: int) -> OutRecord:
        return _request(_envelope(number, tenant=rival), secret=secret)

    def with_the_job_of_another(number: int) -> OutRecord:
        foreign = ids.issue(tenant=rival, uuid=new_uuid7(now_ms=number, randomness=bytes(10)))
        return _request(replace(_envelope(number, tenant="dev"), subject=foreign), secret=secret)

    def no_event(number: int) -> OutRecord:
        return OutRecord("ai.chat.requests.v1", b"%d" % number, b"{}", [("h", b"1")])

    kinds: list[Forgery] = [
        unsigned,
        unsigned_and_big,
        for_a_tenant_that_is_not_his,
        with_the_job_of_another,
        no_event,
    ]
    return [kind(number) for kind in kinds for number in range(EACH)]


def _events(stack: Stack, job: str) -> list[OutRecord]:
    """Job events that lie about tenant or job; `job` is a real one of tenant dev."""
    rival, ids = stack.dev.other_tenant, JobIds(os.urandom(32))

    def of_another_tenant(number: int) -> OutRecord:
        return as_record(an_event("completed", f"{number + 2}-1", job=job, tenant=rival))

    def of_a_job_never_issued(number: int) -> OutRecord:
        uuid = new_uuid7(now_ms=number, randomness=os.urandom(10))
        forged = ids.issue(tenant="dev", uuid=uuid)
        return as_record(an_event("started", "1-1", job=forged, tenant="dev"))

    def with_another_key(number: int) -> OutRecord:
        key = derived_job_id(tenant="dev", source="x", event_id=str(number))
        record = as_record(an_event("failed", f"{number + 2}-1", job=job, tenant="dev"))
        return replace(record, key=key.encode())

    def with_another_body(number: int) -> OutRecord:
        key = derived_job_id(tenant="dev", source="y", event_id=str(number))
        record = as_record(an_event("started", "1-1", job=key, tenant="dev"))
        return replace(record, value=an_event("started", "1-1", job=job).value)

    def big(number: int) -> OutRecord:
        record = of_another_tenant(number)
        return replace(record, headers=[*record.headers, *JUNK[: 100 if number < BIG else 1]])

    kinds: list[Forgery] = [
        of_another_tenant,
        of_a_job_never_issued,
        with_another_key,
        with_another_body,
        big,
    ]
    return [kind(number) for kind in kinds for number in range(EACH)]


def _envelope(number: int, *, tenant: str) -> Envelope:
    record = request_record(f"{number}-{uuid4()}", tenant=tenant)
    envelope, _ = decode_event(record.headers, record.value)
    return replace(envelope, subject=None)


def _request(envelope: Envelope, *, secret: bytes | None = None) -> OutRecord:
    body = request_record("x").value or b""
    if secret is not None:
        envelope = replace(envelope, producer="p")
        envelope = replace(envelope, signature=sign(envelope, body, secret=secret))
    headers: Headers = encode_headers(envelope)
    return OutRecord("ai.chat.requests.v1", envelope.id.encode(), body, headers)


async def _write(stack: Stack, records: list[OutRecord]) -> None:
    producer = KafkaProducer(KafkaSettings(bootstrap=stack.dev.kafka), client_id="forger")
    await producer.start()
    await asyncio.gather(*(producer.send(record) for record in records))
    await producer.stop()


def _dead(stack: Stack) -> dict[str, int]:
    """Dead records by code; a worker that is restarted may write a letter again."""
    done = stack.cli("dlq", "list", "--json", "--limit", "0")
    assert done.returncode == 0, done.stderr
    letters = orjson.loads(done.stdout)["letters"]
    return dict(Counter(code for code, _ in {(row["code"], row["from"]) for row in letters}))


def _counted(stack: Stack, service: str, metric: str) -> int:
    """The sum of a counter over its labels."""
    url = f"{stack.dev.admin[f'{service}-1']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own address
        text = answer.read().decode()
    found = re.findall(rf"^penstock_{metric}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return int(sum(map(float, found)))


def _processes(stack: Stack) -> Counter[str]:
    """Ids of all processes: a new one would have been restarted.

    The worker may stop at so many dead letters and go on after its restart: see delivery.md.
    """
    paths = [path for path in stack.paths.run.glob("*.pid") if "llm-worker" not in path.name]
    return Counter(path.name + path.read_text() for path in paths)


async def _until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not fact():  # noqa: ASYNC110 - facts of other processes
            await asyncio.sleep(0.5)
