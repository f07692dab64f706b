"""What input tokens cost, by the price table of genai-prices; it works offline."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from decimal import Decimal
from importlib.metadata import version

import structlog

from embedder.billing import NoPrices, Prices

__all__ = ["GenaiPrice", "load_price"]

log = structlog.get_logger(__name__)


class GenaiPrice:
    """The price of one model; only made for remote models, the table takes 20 MB."""

    def __init__(self, reference: str) -> None:
        """`reference` is `<provider>/<model>`.

        Raises:
            LookupError: the table does not know it.
        """
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 20 MB

        provider, _, model = reference.partition("/")
        self._provider, self._model = get_snapshot().find_provider_model(
            model, None, provider, None
        )
        self._source = f"genai-prices {version('genai-prices')}"

    def cost(self, tokens: int) -> tuple[Decimal, str]:
        """US dollars at today's price."""
        from genai_prices.types import Usage  # noqa: PLC0415 - loaded already

        result = self._model.calc_price(
            Usage(input_tokens=tokens),
            self._provider,
            genai_request_timestamp=datetime.now(timezone.utc),
        )
        return result.total_price, self._source


async def load_price(reference: str | None) -> Prices:
    """The price of a model; an unknown one is logged and has no price."""
    if reference is None:
        return NoPrices()
    try:
        return await asyncio.to_thread(GenaiPrice, reference)
    except LookupError:
        log.warning("price.unknown", price=reference)
        return NoPrices()
