from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.envelope import (
    Envelope,
    decode_event,
    encode_headers,
    sign,
    signature_is_valid,
)
from penstock_contracts.errors import ContractError, NotACloudEvent
from penstock_contracts.replies import ReplyAddress

PLAIN = Envelope(id="1", source="/s", type="t", tenant="acme", user="ada", subject="job")
CHANGES = {
    "id": dataclasses.replace(PLAIN, id="x"),
    "source": dataclasses.replace(PLAIN, source="x"),
    "type": dataclasses.replace(PLAIN, type="x"),
    "subject": dataclasses.replace(PLAIN, subject="x"),
    "tenant": dataclasses.replace(PLAIN, tenant="x"),
    "user": dataclasses.replace(PLAIN, user="x"),
}


def test_headers_round_trip_keeps_every_attribute() -> None:
    envelope = dataclasses.replace(
        PLAIN, attempt=3, seq=9, traceparent="00-a-b-01", extra={"partitionkey": "k"}
    )

    decoded, data = decode_event(encode_headers(envelope), b"{}")

    assert decoded == envelope
    assert data == b"{}"


@pytest.mark.parametrize("name", CHANGES)
def test_signature_covers_every_attribute_that_decides(name: str) -> None:
    signature = sign(PLAIN, b"{}", secret=b"k")
    signed = dataclasses.replace(PLAIN, signature=signature)
    forged = dataclasses.replace(CHANGES[name], signature=signature)

    assert signature_is_valid(signed, b"{}", secret=b"k")
    assert not signature_is_valid(forged, b"{}", secret=b"k")
    assert not signature_is_valid(signed, b"[]", secret=b"k")
    assert not signature_is_valid(signed, b"{}", secret=b"other")


def test_decode_event_when_value_is_missing_then_refused() -> None:
    with pytest.raises(NotACloudEvent, match="tombstone"):
        decode_event(encode_headers(PLAIN), None)


@given(
    st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=50)), max_size=8),
    st.binary(max_size=200),
)
def test_decode_event_when_garbage_then_only_contract_errors(
    headers: list[tuple[str, bytes | None]], value: bytes
) -> None:
    base: list[tuple[str, bytes | None]] = [*encode_headers(PLAIN)]
    structured: list[tuple[str, bytes | None]] = [("content-type", b"application/cloudevents+json")]
    for candidate in (headers, base + headers, structured):
        try:
            decode_event(candidate, value)
        except ContractError as error:
            assert error.code  # noqa: PT017 - both outcomes are right, other exceptions are not


@pytest.mark.parametrize("correlation", [None, "call-7", "7\udcff"])
def test_reply_address_round_trips_whatever_bytes_the_correlation_id_has(
    correlation: str | None,
) -> None:
    reply = ReplyAddress("ai.replies.billing.acme", correlation)

    decoded, _ = decode_event(encode_headers(dataclasses.replace(PLAIN, reply=reply)), b"{}")

    assert decoded.reply == reply


def test_reply_address_of_a_structured_event_is_in_the_headers_too() -> None:
    event = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{}}'
    headers = [
        ("content-type", b"application/cloudevents+json"),
        ("reply-to", b"ai.replies.billing.acme"),
        ("correlation-id", b"7"),
    ]

    decoded, _ = decode_event(headers, event)

    assert decoded.reply == ReplyAddress("ai.replies.billing.acme", "7")


def test_correlation_id_alone_asks_for_nothing() -> None:
    headers = [*encode_headers(PLAIN), ("correlation-id", b"\xff")]

    assert decode_event(headers, b"{}")[0].reply is None


def test_correlation_id_of_any_bytes_is_kept_however_its_name_is_spelt() -> None:
    headers = [
        *encode_headers(PLAIN),
        ("Reply-To", b"ai.replies.billing.acme"),
        ("Correlation-ID", b"\xff\x00"),
    ]

    reply = decode_event(headers, b"{}")[0].reply

    assert reply == ReplyAddress("ai.replies.billing.acme", "\udcff\x00")
