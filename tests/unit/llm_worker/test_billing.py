from __future__ import annotations

from decimal import Decimal

import pytest
from llm_worker.billing import Bill
from penstock_contracts.parts import Usage


class CentPerToken:
    """Knows one price."""

    def cost(self, price: str | None, usage: Usage) -> tuple[Decimal, str] | None:
        if price != "known":
            return None
        assert usage.input_tokens is not None
        assert usage.output_tokens is not None
        return Decimal(usage.input_tokens + usage.output_tokens) / 100, "cents"


def test_usage_when_nothing_was_called_is_unknown() -> None:
    assert Bill(CentPerToken()).usage() == Usage()


def test_usage_is_the_sum_of_all_calls() -> None:
    bill = Bill(CentPerToken())
    bill.add(Usage(input_tokens=1, output_tokens=2, reasoning_tokens=1), price="known")
    bill.add(Usage(input_tokens=3, output_tokens=4, estimated=True), price="known")

    assert bill.usage() == Usage(
        input_tokens=4,
        output_tokens=6,
        reasoning_tokens=1,
        cost_usd=Decimal("0.10"),
        price_source="cents",
        estimated=True,
    )


@pytest.mark.parametrize("prices", [("known", None), (None, "known")])
def test_cost_when_one_call_has_no_price_is_unknown_as_a_whole(
    prices: tuple[str | None, str | None],
) -> None:
    bill = Bill(CentPerToken())
    for price in prices:
        bill.add(Usage(input_tokens=1, output_tokens=1), price=price)

    usage = bill.usage()
    assert (usage.cost_usd, usage.price_source) == (None, None)
    assert usage.input_tokens == 2
