"""What a job has used over all its attempts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from penstock_contracts.parts import Usage

from llm_worker.ports import PriceTable

__all__ = ["Bill"]


class Bill:
    """Sums the usage of calls. Money is unknown as soon as one call's price is."""

    def __init__(self, prices: PriceTable, before: object = None) -> None:
        """`before`: the `state` of the bill of an earlier delivery."""
        self._prices = prices
        self._total: Usage | None = None
        self._cost: Decimal | None = Decimal(0)
        self._source: str | None = None
        if before is not None:
            self._total = Usage.model_validate(before)
            self._cost, self._source = self._total.cost_usd, self._total.price_source

    def add(self, usage: Usage, *, price: str | None) -> None:
        """Book one call."""
        cost = self._prices.cost(price, usage)
        if cost is None or self._cost is None:
            self._cost = None
        else:
            self._cost += cost[0]
            self._source = cost[1]
        self._total = usage if self._total is None else _sum(self._total, usage)

    def usage(self) -> Usage:
        """Everything so far; all unknown if nothing was ever called."""
        if self._total is None:
            return Usage()
        return self._total.model_copy(
            update={
                "cost_usd": self._cost,
                "price_source": self._source if self._cost is not None else None,
            }
        )

    @property
    def state(self) -> dict[str, Any] | None:
        """For the bill of the next delivery, as JSON; None if nothing was ever called."""
        if self._total is None:
            return None
        return self.usage().model_dump(mode="json", exclude_none=True)


def _sum(left: Usage, right: Usage) -> Usage:
    return Usage(
        input_tokens=_plus(left.input_tokens, right.input_tokens),
        output_tokens=_plus(left.output_tokens, right.output_tokens),
        cached_input_tokens=_plus(left.cached_input_tokens, right.cached_input_tokens),
        reasoning_tokens=_plus(left.reasoning_tokens, right.reasoning_tokens),
        estimated=left.estimated or right.estimated,
    )


def _plus(left: int | None, right: int | None) -> int | None:
    return right if left is None else left if right is None else left + right
