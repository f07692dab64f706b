from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.catalog import CE_REQUEST
from penstock_contracts.credentials import Producer
from penstock_contracts.envelope import Envelope, encode_headers, sign
from penstock_contracts.ids import JobIds, derived_job_id, new_uuid7
from penstock_contracts.replies import ReplyAddress
from penstock_contracts.requests import TaskKind
from penstock_kit.auth.producers import GATEWAY_PRODUCER, ProducerKeys, producer_secret
from penstock_kit.errors import Rejected
from penstock_kit.intake import Intake, RejectedJob, VerifiedRequest, reply_of
from penstock_kit.kafka.ports import Record
from penstock_kit.tasks import TaskCatalog, TaskType

SECRET = b"the id secret of the deployment, long"
IDS = JobIds(SECRET)
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
REQUEST = {"task": "chat", "input": {"messages": [{"role": "user", "content": "hi"}]}}
TOPIC = "ai.chat.requests.v1"
PLAIN = Envelope(id="e1", source="/billing", type=CE_REQUEST, time=NOW, tenant="acme")


def record(
    envelope: Envelope, data: bytes | None = None, *, topic: str = TOPIC, **extra: bytes
) -> Record:
    return Record(
        topic=topic,
        partition=0,
        offset=7,
        key=None,
        value=json.dumps(REQUEST).encode() if data is None else data,
        headers=[*encode_headers(envelope), *extra.items()],
        timestamp_ms=1_000,
    )


def signed(
    envelope: Envelope,
    data: bytes | None = None,
    *,
    producer: str = GATEWAY_PRODUCER,
    secret: bytes | None = None,
    **changes: Any,
) -> Record:
    """A signed record; `changes` alter the envelope after it was signed."""
    body = json.dumps(REQUEST).encode() if data is None else data
    key = producer_secret(SECRET, producer) if secret is None else secret
    sealed = replace(envelope, producer=producer)
    sealed = replace(sealed, signature=sign(sealed, body, secret=key))
    return record(replace(sealed, **changes), body)


def intake(*, is_signed: bool = False, **tasks: TaskType) -> Intake:
    catalog = TaskCatalog({kind.value: TaskType(kind=kind) for kind in TaskKind} | tasks)
    keys = ProducerKeys(SECRET)
    keys.put(Producer(id="billing", tenants=["acme"], created_at=NOW))
    keys.put(Producer(id="retired", tenants=["acme"], created_at=NOW, revoked_at=NOW))
    return Intake(tasks=catalog, ids=IDS, secrets=keys if is_signed else None)


def rejection(bad: Record, *, is_signed: bool = False, **tasks: TaskType) -> Rejected:
    with pytest.raises(Rejected) as rejected:
        intake(is_signed=is_signed, **tasks).verify(bad)
    return rejected.value


def test_event_without_subject_gets_the_id_that_follows_from_it() -> None:
    request = intake().verify(record(PLAIN))

    assert request.job == derived_job_id(tenant="acme", source="/billing", event_id="e1")
    assert (request.tenant, request.user, request.task) == ("acme", None, "chat")
    assert request.kind is TaskKind.CHAT
    assert request.created_at == NOW
    assert (request.scope.tenant, request.scope.user) == ("acme", None)


def test_event_without_time_was_made_when_the_log_says() -> None:
    request = intake().verify(record(replace(PLAIN, time=None)))

    assert request.created_at == datetime.fromtimestamp(1, tz=timezone.utc)


def test_same_event_again_is_the_same_job() -> None:
    first, second = intake().verify(record(PLAIN)), intake().verify(record(PLAIN))

    assert first.job == second.job


def test_id_that_a_gateway_issued_for_the_tenant_is_kept() -> None:
    job = IDS.issue(tenant="acme", uuid=new_uuid7(now_ms=1, randomness=b"0" * 10))

    assert intake().verify(record(replace(PLAIN, subject=job))).job == job


@pytest.mark.parametrize(
    "subject",
    [
        IDS.issue(tenant="beta", uuid=new_uuid7(now_ms=1, randomness=b"0" * 10)),
        derived_job_id(tenant="beta", source="/billing", event_id="e1"),
        derived_job_id(tenant="acme", source="/billing", event_id="e2"),
        "job_" + "0" * 42,
        "job_" + "0" * 32,
        "x",
        "",
        "é" * 42,
    ],
)
def test_id_that_is_not_the_tenants_is_refused(subject: str) -> None:
    problem = rejection(record(replace(PLAIN, subject=subject)))

    assert (problem.code, problem.field) == ("foreign_job", "ce_subject")


@pytest.mark.parametrize("tenant", [None, "", "a b", "../x", "a\nb", "é", "a" * 129, "{acme}", "*"])
def test_tenant_that_is_no_identifier_is_refused(tenant: str | None) -> None:
    problem = rejection(record(replace(PLAIN, tenant=tenant)))

    assert (problem.code, problem.field) == ("bad_tenant", "ce_tenant")


def test_signed_event_of_the_gateway_and_of_a_producer_pass() -> None:
    gate = intake(is_signed=True)

    assert gate.verify(signed(replace(PLAIN, tenant="any"))).tenant == "any"
    assert gate.verify(signed(PLAIN, producer="billing")).tenant == "acme"


@pytest.mark.parametrize(
    "bad",
    [
        signed(replace(PLAIN, tenant="beta"), producer="billing"),
        signed(PLAIN, producer="billing", tenant="beta"),
        signed(PLAIN, tenant="beta"),
        signed(PLAIN, id="e2"),
        signed(PLAIN, source="/other"),
        signed(PLAIN, subject=derived_job_id(tenant="acme", source="/billing", event_id="e1")),
        signed(PLAIN, user="ann"),
        signed(PLAIN, producer="retired"),
        signed(PLAIN, producer="stranger"),
        signed(PLAIN, secret=b"another secret"),
        signed(PLAIN, signature="é"),
        signed(PLAIN, signature=""),
        replace(signed(PLAIN), value=b'{"task":"chat","input":{}}'),
    ],
    ids=[
        "a tenant that the producer may not speak for",
        "tenant changed under a producer",
        "tenant changed under the gateway",
        "id changed",
        "source changed",
        "subject added",
        "user added",
        "revoked producer",
        "unknown producer",
        "wrong secret",
        "signature is not ASCII",
        "signature is empty",
        "body changed",
    ],
)
def test_forged_event_is_refused(bad: Record) -> None:
    problem = rejection(bad, is_signed=True)

    assert (problem.code, problem.field) == ("bad_signature", "ce_signature")


@pytest.mark.parametrize("missing", ["producer", "signature"])
def test_unsigned_event_is_refused_and_told_how_to_sign(missing: str) -> None:
    changes: dict[str, Any] = {missing: None}

    problem = rejection(signed(PLAIN, **changes), is_signed=True)

    assert problem.code == "unsigned"
    assert "docs/direct-producers.md" in str(problem)


def test_signature_is_checked_before_the_body_is_read() -> None:
    problem = rejection(record(PLAIN, b"not json"), is_signed=True)

    assert problem.code == "unsigned"


@pytest.mark.parametrize("suffix", ["", ".high", ".low"])
def test_all_three_topics_of_a_task_are_right(suffix: str) -> None:
    assert intake().verify(record(PLAIN, topic=TOPIC + suffix)).task == "chat"


@pytest.mark.parametrize("topic", ["ai.retries.v1.5s", "ai.retries.v1.10m"])
def test_retry_topics_carry_tasks_of_the_topic_that_they_came_from(topic: str) -> None:
    waiting = record(PLAIN, topic=topic)

    assert intake().verify(waiting, topic=TOPIC).task == "chat"
    with pytest.raises(Rejected) as caught:
        intake().verify(waiting, topic="ai.embed.requests.v1")
    assert caught.value.code == "wrong_topic"


@pytest.mark.parametrize(
    "topic", ["ai.embed.requests.v1", TOPIC + ".mid", TOPIC + "2", "ai.retries.v1.99y"]
)
def test_task_on_a_foreign_topic_is_refused(topic: str) -> None:
    assert rejection(record(PLAIN, topic=topic)).code == "wrong_topic"


def test_unknown_task_is_refused_with_the_known_ones() -> None:
    problem = rejection(record(PLAIN, b'{"task":"paint","input":{}}'))

    assert (problem.code, problem.field) == ("unknown_task", "task")
    assert "chat, conversation, embed, generate, ingest, search" in str(problem)


def test_charge_that_the_task_does_not_allow_is_refused() -> None:
    body = json.dumps(REQUEST | {"charge": "at_most_once"}).encode()

    problem = rejection(
        record(PLAIN, body), chat=TaskType(kind=TaskKind.CHAT, allow_at_most_once=False)
    )

    assert problem.code == "charge_not_allowed"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"task":NaN}', "malformed_json"),
        (b'{"task":Infinity}', "malformed_json"),
        (b'{"task":"chat","input":' + b"[" * 40 + b"]" * 40 + b"}", "malformed_json"),
        (b'{"task":"chat","input":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "malformed_json"),
        (b'{"task":"chat","task":"x\\ud800"}', "malformed_json"),
        (b"[]", "schema_mismatch"),
        (b'"chat"', "schema_mismatch"),
        (b"null", "schema_mismatch"),
        (b'{"task":"chat"}', "schema_mismatch"),
        (b'{"task":"chat","input":{},"tenant":"beta"}', "schema_mismatch"),
        (b'{"task":"chat","input":{},"user":"a b"}', "schema_mismatch"),
        (b'{"task":"Chat","input":{}}', "schema_mismatch"),
        (b'{"task":"chat","input":{},"params":{"temperature":1e999}}', "malformed_json"),
        (b'{"task":"chat","input":{},"params":{"temperature":9}}', "schema_mismatch"),
    ],
)
def test_body_that_is_no_request_is_refused(body: bytes, code: str) -> None:
    assert rejection(record(PLAIN, body)).code == code


def test_refusal_names_the_field_and_never_quotes_what_was_sent() -> None:
    problem = rejection(record(PLAIN, b'{"task":"chat","input":{},"params":{"seed":"my secret"}}'))

    assert problem.field == "params.seed"
    assert "my secret" not in str(problem)


@pytest.mark.parametrize(
    "bad",
    [
        replace(record(PLAIN), value=None),
        replace(record(PLAIN), headers=[]),
        replace(record(PLAIN), headers=[("ce_specversion", b"1.0")]),
        record(PLAIN, ce_specversion=b"0.3"),
        record(PLAIN, ce_id=b""),
        record(PLAIN, ce_id=b"\xff"),
        record(PLAIN, ce_time=b"yesterday"),
        record(PLAIN, ce_time=b"2026-01-01T00:00:00"),
        record(PLAIN, ce_attempt=b"-1"),
        record(PLAIN, ce_attempt="\u0661".encode()),
        record(PLAIN, ce_source=b"x" * 100_000),
        record(PLAIN, ce_anything=b"x" * 100_000),
        replace(record(PLAIN), headers=[*encode_headers(PLAIN), ("content-type", b"text/plain")]),
    ],
    ids=range(13),
)
def test_envelope_that_is_broken_is_refused(bad: Record) -> None:
    assert rejection(bad).code == "not_a_cloudevent"


def test_giant_header_of_others_is_ignored() -> None:
    assert intake().verify(record(PLAIN, baggage=b"x" * 500_000)).task == "chat"


def test_other_event_type_is_refused() -> None:
    problem = rejection(record(replace(PLAIN, type="penstock.job.completed.v1")))

    assert (problem.code, problem.field) == ("wrong_type", "ce_type")


def structured(**changes: Any) -> Record:
    event = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/billing",
        "type": CE_REQUEST,
        "tenant": "acme",
        "data": REQUEST,
    }
    return Record(
        topic=TOPIC,
        partition=0,
        offset=0,
        key=None,
        value=json.dumps({**event, **changes}).encode(),
        headers=[("content-type", b"application/cloudevents+json; charset=utf-8")],
    )


def test_structured_mode_gives_the_same_job_as_binary_mode() -> None:
    assert intake().verify(structured()).job == intake().verify(record(PLAIN)).job


def test_structured_mode_is_signed_over_the_data_as_compact_json() -> None:
    data = json.dumps(REQUEST, separators=(",", ":")).encode()
    sealed = replace(PLAIN, producer="billing")
    signature = sign(sealed, data, secret=producer_secret(SECRET, "billing"))

    good = structured(producer="billing", signature=signature)
    bad = structured(producer="billing", signature=signature, data=REQUEST | {"user": "eve"})

    assert intake(is_signed=True).verify(good).tenant == "acme"
    assert rejection(bad, is_signed=True).code == "bad_signature"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"specversion": "2.0"}, "not_a_cloudevent"),
        ({"id": ""}, "not_a_cloudevent"),
        ({"id": ["x"]}, "not_a_cloudevent"),
        ({"data": None}, "schema_mismatch"),
        ({"data_base64": "*"}, "not_a_cloudevent"),
        ({"data_base64": 7}, "not_a_cloudevent"),
        ({"datacontenttype": "text/xml"}, "not_a_cloudevent"),
        ({"tenant": None}, "bad_tenant"),
        ({"tenant": 7.5}, "not_a_cloudevent"),
    ],
)
def test_structured_event_that_is_broken_is_refused(changes: dict[str, Any], code: str) -> None:
    assert rejection(structured(**changes)).code == code


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                ["ce_id", "ce_type", "ce_source", "ce_specversion", "ce_tenant", "content-type"]
            )
            | st.text(max_size=8),
            st.none()
            | st.binary(max_size=20)
            | st.sampled_from(
                [b"1.0", CE_REQUEST.encode(), b"application/json", b"application/cloudevents+json"]
            ),
        ),
        max_size=8,
    ),
    value=st.none() | st.binary(max_size=60) | st.just(json.dumps(REQUEST).encode()),
    topic=st.sampled_from([TOPIC, "ai.retries.v1.5s", "x"]),
)
def test_any_record_is_verified_or_rejected_and_nothing_else(
    headers: list[tuple[str, bytes]], value: bytes | None, topic: str
) -> None:
    for is_signed in (False, True):
        try:
            request = intake(is_signed=is_signed).verify(
                Record(topic=topic, partition=0, offset=0, key=None, value=value, headers=headers)
            )
        except Rejected:
            continue
        assert isinstance(request, VerifiedRequest)


def test_job_that_asks_for_a_reply_keeps_the_address() -> None:
    reply = ReplyAddress("ai.replies.billing.acme", "call-7")

    assert reply_of(intake().verify(record(replace(PLAIN, reply=reply)))) == reply


def test_job_that_asks_for_a_reply_elsewhere_is_refused_and_its_end_goes_nowhere() -> None:
    problem = rejection(record(replace(PLAIN, reply=ReplyAddress("ai.replies.billing.beta"))))

    assert isinstance(problem, RejectedJob)
    assert (problem.code, problem.field) == ("bad_reply_to", "reply-to")
    assert reply_of(problem.sender) is None


def test_job_that_is_refused_for_another_reason_is_replied_to() -> None:
    reply = ReplyAddress("ai.replies.billing.acme")
    problem = rejection(record(replace(PLAIN, reply=reply), b'{"task":"chat"}'))

    assert isinstance(problem, RejectedJob)
    assert reply_of(problem.sender) == reply
