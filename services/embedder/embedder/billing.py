"""What a job has used over all its attempts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Protocol

from penstock_contracts.parts import Usage

from embedder.batching import Share

__all__ = ["Bill", "NoPrices", "Prices"]


class Prices(Protocol):
    """Knows what input tokens of the deployment's model cost."""

    def cost(self, tokens: int) -> tuple[Decimal, str] | None:
        """US dollars and where the price stands; None if it is unknown."""
        ...


class NoPrices:
    """A model without a known price; also a local one, whose price nobody knows."""

    def cost(self, tokens: int) -> None:
        """Unknown, not zero."""
        del tokens


class Bill:
    """Sums tokens over the attempts of a job."""

    def __init__(self, prices: Prices, before: object = None) -> None:
        """`before`: the `state` of the bill of an earlier delivery."""
        self._prices = prices
        self._tokens: int | None = None
        self._is_estimated = False
        if before is not None:
            usage = Usage.model_validate(before)
            self._tokens, self._is_estimated = usage.input_tokens, usage.estimated

    def add(self, share: Share) -> None:
        """Book what texts have used: what the provider billed, else what was counted here."""
        if not (share.counted_tokens or share.under_way_tokens):
            return
        billed = share.billed_tokens
        known = share.counted_tokens if billed is None else billed
        self._tokens = (self._tokens or 0) + known + share.under_way_tokens
        if share.under_way_tokens or not share.is_exact:
            self._is_estimated = True

    @property
    def state(self) -> dict[str, Any] | None:
        """For the bill of the next delivery, as JSON; None if nothing was embedded."""
        if self._tokens is None:
            return None
        return self.usage().model_dump(mode="json", exclude_none=True)

    def usage(self) -> Usage:
        """Everything so far; all unknown if nothing was embedded."""
        if self._tokens is None:
            return Usage()
        cost = self._prices.cost(self._tokens)
        return Usage(
            input_tokens=self._tokens,
            output_tokens=0,
            cost_usd=cost[0] if cost is not None else None,
            price_source=cost[1] if cost is not None else None,
            estimated=self._is_estimated,
        )
