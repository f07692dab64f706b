"""The last part to start and the first to stop: it sends streams away before the server closes."""

from __future__ import annotations

from collections.abc import Callable

from penstock_kit.telemetry.health import Health

__all__ = ["DrainFirst"]


class DrainFirst:
    """A Part. Started: the process is ready. Stopped: `drains` let everybody go who is held."""

    def __init__(self, health: Health, *drains: Callable[[], None]) -> None:
        self._health = health
        self._drains = drains

    async def start(self) -> None:
        """Every other part runs: be ready."""
        self._health.set_started()

    async def stop(self) -> None:
        """Send streams and waiting callers away; requests that are being answered go on."""
        for drain in self._drains:
            drain()
