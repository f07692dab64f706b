"""What calls cost, by the price table of genai-prices.

The table takes 20 MB in memory, of which a worker needs a few models. So a short-lived child
process reads it (`python -m llm_worker.pricing`) and hands over only those.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Iterable
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import structlog
from penstock_contracts.parts import Usage

__all__ = ["GenaiPrices", "load_prices"]

log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0


class GenaiPrices:
    """Prices of some models; `None` for whatever is not among them."""

    def __init__(self, models: dict[str, tuple[Any, Any]]) -> None:
        """`models`: provider and model of genai-prices by price reference."""
        self._models = models
        self._source = f"genai-prices {version('genai-prices')}"

    def cost(self, price: str | None, usage: Usage) -> tuple[Decimal, str] | None:
        """US dollars and the source; None if the model or a token count is unknown."""
        found = self._models.get(price or "")
        if found is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        from datetime import datetime, timezone  # noqa: PLC0415 - beside the library it serves

        from genai_prices.types import Usage as PricedUsage  # noqa: PLC0415 - 10 MB, rarely needed

        provider, model = found
        priced = PricedUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=min(usage.cached_input_tokens or 0, usage.input_tokens),
        )
        result = model.calc_price(
            priced, provider, genai_request_timestamp=datetime.now(timezone.utc)
        )
        return result.total_price, self._source


async def load_prices(references: Iterable[str]) -> GenaiPrices:
    """The prices of `<provider>/<model>` references; unknown ones are logged and have no price."""
    wanted = sorted(set(references))
    if not wanted:
        return GenaiPrices({})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, *wanted, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        output = b""
    models = pickle.loads(output) if output else {}  # noqa: S301 - our own child wrote it
    for reference in wanted:
        if reference not in models:
            log.warning("price.unknown", price=reference)
    return GenaiPrices(models)


def _select(references: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - only in the child process

    snapshot = get_snapshot()
    found: dict[str, tuple[Any, Any]] = {}
    for reference in references:
        provider_id, _, model_ref = reference.partition("/")
        try:
            provider, model = snapshot.find_provider_model(model_ref, None, provider_id, None)
        except LookupError:
            continue
        # `calc_price` only names the provider; its other models would be the bulk of what is sent.
        provider.models = []
        found[reference] = (provider, model)
    return found


if __name__ == "__main__":
    sys.stdout.buffer.write(pickle.dumps(_select(sys.argv[1:])))
