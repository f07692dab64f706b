"""What delivering needs of the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from penstock_contracts.state import JobState
from penstock_kit.errors import PenstockError
from penstock_kit.tenancy import TenantScope
from penstock_kit.webhooks.urls import Target

__all__ = ["Answered", "BatchShelf", "Ends", "NotSent", "Sender"]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a receiver said; its body is thrown away.

    Attributes:
        retry_after: the header as it came.
    """

    status: int
    retry_after: str | None = None


class NotSent(PenstockError):
    """No answer came. Caught by the deliverer, who tries again later.

    Attributes:
        code: `timeout`, `dns`, `connect`, `tls`, `protocol` or `refused_address`; for logs,
            metrics and the endpoint's owner.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class Ends(Protocol):
    """Knows how jobs ended; `JobTable` does."""

    async def get(self, scope: TenantScope, job_id: str) -> JobState | None:
        """The job; None if it is unknown (yet).

        Raises:
            TableAway: it cannot be told now.
        """
        ...


class BatchShelf(Protocol):
    """Knows what callers see of batches; `penstock_kit.batches.shelf.Shelf` does."""

    async def get(self, scope: TenantScope, record_id: str) -> bytes | None:
        """The newest state; None if it is unknown (yet).

        Raises:
            TableAway: it cannot be told now.
        """
        ...


class Sender(Protocol):
    """Sends one request to one receiver, whatever the receiver does."""

    async def send(
        self, target: Target, body: bytes, headers: Mapping[str, str], *, tenant: str
    ) -> Answered:
        """POST the body for a tenant; redirects are not followed.

        Raises:
            NotSent: no answer within the limits, or nothing may be sent to where the name leads.
        """
        ...
