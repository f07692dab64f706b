from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.codec import decode_model, encode_model
from penstock_contracts.parts import (
    Delta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    merge_deltas,
)

TEXTS = st.text(max_size=5)
CHOICES = st.integers(0, 2)
DELTAS = st.one_of(
    st.builds(TextDelta, choice=CHOICES, text=TEXTS),
    st.builds(ReasoningDelta, choice=CHOICES, text=TEXTS),
    st.builds(RefusalDelta, choice=CHOICES, text=TEXTS),
    st.builds(ToolCallDelta, choice=CHOICES, index=st.integers(0, 1), arguments=TEXTS),
)


def _assembled(deltas: Iterable[Delta]) -> dict[tuple[object, ...], str]:
    texts: dict[tuple[object, ...], str] = {}
    for delta in deltas:
        if isinstance(delta, ToolCallDelta):
            key: tuple[object, ...] = (delta.choice, delta.type, delta.index)
            texts[key] = texts.get(key, "") + delta.arguments
        else:
            key = (delta.choice, delta.type)
            texts[key] = texts.get(key, "") + delta.text
    return texts


@given(st.lists(DELTAS, max_size=30))
def test_merge_deltas_keeps_the_assembled_output(deltas: list[Delta]) -> None:
    merged = merge_deltas(deltas)

    assert _assembled(merged) == _assembled(deltas)
    assert merge_deltas(merged) == merged


def test_merge_deltas_when_a_second_call_begins_then_calls_stay_apart() -> None:
    deltas: list[Delta] = [
        ToolCallDelta(index=0, id="a", name="f", arguments="{"),
        ToolCallDelta(index=0, arguments="}"),
        ToolCallDelta(index=1, id="b", name="g"),
    ]

    assert merge_deltas(deltas) == [
        ToolCallDelta(index=0, id="a", name="f", arguments="{}"),
        ToolCallDelta(index=1, id="b", name="g"),
    ]


def test_merge_deltas_joins_logprobs() -> None:
    merged = merge_deltas([TextDelta(text="a", logprobs=[1]), TextDelta(text="b", logprobs=[2])])

    assert merged == [TextDelta(text="ab", logprobs=[1, 2])]


@pytest.mark.parametrize(
    ("amount", "written"),
    [("1E-7", "0.0000001"), ("0.00000330", "0.00000330"), ("1E+2", "100"), ("0", "0")],
)
def test_cost_is_written_in_digits(amount: str, written: str) -> None:
    usage = Usage(cost_usd=Decimal(amount))

    assert json.loads(encode_model(usage))["cost_usd"] == written
    assert decode_model(Usage, encode_model(usage)) == usage
