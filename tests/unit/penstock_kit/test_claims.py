"""What records say of themselves, in both modes: the same as the intake will read."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest
from penstock_contracts.envelope import Envelope, decode_event, encode_headers
from penstock_contracts.ids import derived_job_id
from penstock_kit.claims import job_claim_of, needs_no_order, tenant_of
from penstock_kit.kafka.ports import Headers, Record

Builder = Callable[..., Record]

STRUCTURED = ("content-type", b"application/cloudevents+json; charset=UTF-8")
DERIVED = derived_job_id(tenant="acme", source="/test", event_id="1")


def binary(*, subject: str | None = None, key: bytes = b"k", extra: Headers = ()) -> Record:
    envelope = Envelope(id="1", source="/test", type="x", tenant="acme", subject=subject)
    return Record("t", 0, 0, key, b"{}", [*encode_headers(envelope), *extra])


def structured(
    *, subject: str | None = None, key: bytes = b"k", headers: Headers = (STRUCTURED,)
) -> Record:
    event = {"specversion": "1.0", "id": "1", "source": "/test", "type": "x", "tenant": "acme"}
    if subject is not None:
        event["subject"] = subject
    return Record("t", 0, 0, key, orjson.dumps({**event, "data": {}}), headers)


@pytest.mark.parametrize("mode", [binary, structured])
@pytest.mark.parametrize(("subject", "job"), [("job_1", "job_1"), (None, DERIVED)])
def test_claim_when_in_either_mode_then_tenant_and_job(
    mode: Builder, subject: str | None, job: str
) -> None:
    record = mode(subject=subject)

    assert tenant_of(record) == "acme"
    assert job_claim_of(record) == ("acme", job)


@pytest.mark.parametrize(
    "record",
    [
        structured(headers=[("ce_tenant", b"other"), STRUCTURED]),
        structured(headers=[STRUCTURED, ("ce_tenant", b"other")]),
        structured(headers=[("Content-Type", STRUCTURED[1])]),
        binary(extra=[("ce_tenant", b"last")]),
    ],
)
def test_tenant_when_a_record_says_two_things_then_what_the_intake_reads(record: Record) -> None:
    envelope, _ = decode_event(record.headers, record.value)

    assert tenant_of(record) == envelope.tenant
    assert (job_claim_of(record) or ())[:1] == (envelope.tenant,)


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([], b"{}"),
        ([], None),
        ([("ce_tenant", None), ("content-type", None)], b"{}"),
        ([STRUCTURED], b"{broken"),
        ([STRUCTURED], b"[1]"),
        ([STRUCTURED], None),
        ([STRUCTURED, ("ce_tenant", b"other")], b"{}"),
    ],
)
def test_claim_when_nothing_can_be_read_then_none(
    headers: list[tuple[str, bytes]], value: bytes | None
) -> None:
    record = Record("t", 0, 0, b"k", value, headers)

    assert tenant_of(record) is None
    assert job_claim_of(record) is None
    assert not needs_no_order(record)


@pytest.mark.parametrize("mode", [binary, structured])
def test_order_when_the_key_is_the_jobs_own_then_not_needed(mode: Builder) -> None:
    def made(subject: str | None, key: bytes) -> Record:
        return mode(subject=subject, key=key)

    assert needs_no_order(made("job_1", b"job_1"))
    assert not needs_no_order(made("job_1", b"conversation"))
    assert not needs_no_order(made(None, b"k"))
