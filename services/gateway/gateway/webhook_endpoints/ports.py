"""What orders about endpoints need of the world."""

from __future__ import annotations

from typing import Protocol

__all__ = ["EndpointLog"]


class EndpointLog(Protocol):
    """The endpoint topic, which other gateways and the command line write too; `WebhookTable`."""

    async def catch_up(self) -> bool:
        """Whether every record that was written before the call is known by now.

        False: the broker cannot be heard; what is known may be old.
        """
        ...
