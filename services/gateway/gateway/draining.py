"""The last part to start and the first to stop: it sends streams away before the server closes."""

from __future__ import annotations

from penstock_kit.telemetry.health import Health

from gateway.stream import EventFollower

__all__ = ["DrainFirst"]


class DrainFirst:
    """A Part. Started: the process is ready. Stopped: every stream ends with a resume hint."""

    def __init__(self, follower: EventFollower, health: Health) -> None:
        self._follower = follower
        self._health = health

    async def start(self) -> None:
        """Every other part runs: be ready."""
        self._health.set_started()

    async def stop(self) -> None:
        """Send the streams away; requests that are being answered go on."""
        self._follower.drain()
