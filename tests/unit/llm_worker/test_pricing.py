from __future__ import annotations

from decimal import Decimal

import pytest
from llm_worker.pricing import load_prices
from penstock_contracts.parts import Usage
from structlog.testing import capture_logs

MINI = "openai/gpt-4o-mini"
"""0.15 dollars per million input tokens, 0.60 for output, half the price for cached input."""


async def test_cost_of_known_model_is_that_of_genai_prices() -> None:
    prices = await load_prices([MINI])

    found = prices.cost(MINI, Usage(input_tokens=1_000_000, output_tokens=1_000_000))

    assert found is not None
    assert found[0] == Decimal("0.75")
    assert found[1].startswith("genai-prices ")


async def test_cost_when_input_was_cached_is_lower() -> None:
    prices = await load_prices([MINI])

    found = prices.cost(
        MINI, Usage(input_tokens=1_000_000, output_tokens=0, cached_input_tokens=1_000_000)
    )

    assert found is not None
    assert found[0] == Decimal("0.075")


async def test_cost_when_nothing_was_used_is_zero_and_known() -> None:
    prices = await load_prices([MINI])

    found = prices.cost(MINI, Usage(input_tokens=0, output_tokens=0))

    assert found is not None
    assert found[0] == 0


@pytest.mark.parametrize(
    "reference", ["openai/no-such-model", "nobody/gpt-4o-mini", "gpt-4o-mini-of-nobody", ""]
)
async def test_cost_of_unknown_model_is_unknown_and_said_once(reference: str) -> None:
    with capture_logs() as logs:
        prices = await load_prices([reference, reference])

    assert prices.cost(reference, Usage(input_tokens=1, output_tokens=1)) is None
    assert [(line["event"], line["price"]) for line in logs] == [("price.unknown", reference)]


async def test_cost_of_model_that_names_no_price_is_unknown() -> None:
    prices = await load_prices([])

    assert prices.cost(None, Usage(input_tokens=1, output_tokens=1)) is None


@pytest.mark.parametrize(
    "usage", [Usage(), Usage(input_tokens=1), Usage(output_tokens=1)], ids=["both", "output", "in"]
)
async def test_cost_when_a_count_is_missing_is_unknown(usage: Usage) -> None:
    prices = await load_prices([MINI])

    assert prices.cost(MINI, usage) is None
