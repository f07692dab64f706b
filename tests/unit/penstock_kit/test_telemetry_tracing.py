from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_kit.telemetry.tracing import (
    TraceContext,
    child_of,
    from_headers,
    into_headers,
    new_root,
    parse,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_parse_reads_the_example_of_the_specification() -> None:
    assert parse(GOOD, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE") == TraceContext(
        TRACE, SPAN, is_sampled=True, state="rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    )


def test_parse_takes_later_versions_with_more_fields() -> None:
    assert parse(f"cc-{TRACE}-{SPAN}-03-what-comes") == TraceContext(TRACE, SPAN, is_sampled=True)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE}-{SPAN}-01 ",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0x",
        f"cc-{TRACE}-{SPAN}-01.x",
        f"00-{TRACE}-{SPAN}-0\u0661",
        GOOD * 1000,
    ],
)
def test_parse_refuses_what_is_malformed(text: str | None) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "state",
    [
        "",
        "no-equals",
        "A=1",
        "a=1,a=2",
        "a=b=c",
        "a=\x01",
        "a=é",
        "=1",
        ",".join(f"k{n}=1" for n in range(33)),
        "a=" + "x" * 600,
        "a=1\r\nx: y",
    ],
)
def test_malformed_state_is_dropped_and_the_trace_goes_on(state: str) -> None:
    assert parse(GOOD, state) == TraceContext(TRACE, SPAN, is_sampled=True)


def test_state_may_have_spaces_and_tenants() -> None:
    context = parse(GOOD, "a=1 ,\t b@c=2,,")

    assert context is not None
    assert context.state == "a=1,b@c=2"


def test_child_keeps_trace_and_state_with_a_span_of_its_own() -> None:
    child = child_of(GOOD, "a=1", random_bytes=lambda size: b"\x01" * size)

    assert child == TraceContext(TRACE, "01" * 8, is_sampled=True, state="a=1")


def test_child_of_nothing_is_a_new_root() -> None:
    drawn = iter([b"\x00" * 16, b"\x02" * 16, b"\x03" * 8])

    assert child_of("garbage", random_bytes=lambda _: next(drawn)) == TraceContext(
        "02" * 16, "03" * 8, is_sampled=False
    )


def test_headers_carry_a_context_there_and_back() -> None:
    context = TraceContext(TRACE, SPAN, is_sampled=False, state="a=1")

    assert from_headers([("x", None), *into_headers(context)]) == context


def test_doubled_traceparent_is_not_believed() -> None:
    header = ("traceparent", GOOD.encode())

    assert from_headers([header, header]) is None
    assert from_headers([("traceparent", None)]) is None
    assert from_headers([("traceparent", b"\xff")]) is None


@given(sampled=st.booleans())
def test_new_roots_parse(sampled: bool) -> None:
    root = new_root(is_sampled=sampled)

    assert parse(root.traceparent) == root


@given(text=st.text(max_size=100), state=st.text(max_size=100))
def test_parse_never_fails(text: str, state: str) -> None:
    parse(text, state)
    child_of(text, state)
