from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.codec import MAX_DEPTH, decode_json, decode_model
from penstock_contracts.errors import MalformedJson, SchemaMismatch
from penstock_contracts.requests import JobRequest


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"NaN", b'{"a":NaN}', b"[Infinity]", b"[-Infinity]", b"\xff\xfe",
        b'"\xed\xa0\x80"', b"[1,]", b"01", b'{"a":1}x', b"\xef\xbb\xbf{}", b'"\\ud800"', b"'a'",
        b"[1e999]",
    ],
)  # fmt: skip
def test_decode_json_when_not_strict_json_then_refused(raw: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode_json(raw)


def test_decode_json_at_the_depth_limit_then_accepted_and_one_deeper_refused() -> None:
    assert decode_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None

    with pytest.raises(MalformedJson, match="nested deeper"):
        decode_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_decode_json_when_brackets_are_text_then_not_counted_as_depth() -> None:
    raw = json.dumps({"a": '[{"\\' * 100}).encode()

    assert decode_json(raw) == {"a": '[{"\\' * 100}


def test_decode_json_when_larger_than_allowed_then_refused() -> None:
    with pytest.raises(MalformedJson, match="at most 3"):
        decode_json(b'"abc"', max_bytes=3)


def test_decode_model_when_a_field_is_wrong_then_it_is_named_and_not_quoted() -> None:
    with pytest.raises(SchemaMismatch) as caught:
        decode_model(JobRequest, b'{"task":"chat","input":{},"params":{"temperature":"my secret"}}')

    assert caught.value.field == "params.temperature"
    assert "secret" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_decode_json_reads_what_json_writes(value: object) -> None:
    assert decode_json(json.dumps(value).encode()) == value
