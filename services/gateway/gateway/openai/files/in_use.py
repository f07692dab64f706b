"""Which input files running batches still read: those stay until the batches are over."""

from __future__ import annotations

import sys
from typing import Final

from penstock_contracts.batches import BatchState, BatchStatus
from penstock_contracts.codec import decode_model
from penstock_kit.batches.shelf import PageAsk, Shelf
from penstock_kit.tenancy import TenantScope

__all__ = ["FilesInUse"]

_GOES_ON: Final = tuple(
    b'"status":"%b"' % status.value.encode() for status in BatchStatus if not status.is_terminal
)
"""Nearly all batches of a tenant are over, and need not be decoded to be known as such."""

_NO_BATCH: Final = "none"
"""Looking for it tells whether the view is whole: a listing shows what is there so far."""


class FilesInUse:
    """Asks the batches themselves: there is no count that a crash could leave wrong."""

    def __init__(self, batches: Shelf) -> None:
        self._batches = batches

    async def of(self, tenant: str) -> dict[str, str]:
        """The input files of all batches of a tenant that are not over, and a batch of each.

        Raises:
            TableAway: Redis does not answer, or is being filled again.
        """
        scope = TenantScope(tenant)
        await self._batches.get(scope, _NO_BATCH)
        ask = PageAsk(limit=sys.maxsize, accepts=_goes_on)
        page = await self._batches.page(scope, ask)
        assert page is not None, "only an `after` can be unknown"
        states = [decode_model(BatchState, value) for value in page.values]
        return {state.request.input_file_id: state.request.id for state in states}


def _goes_on(value: bytes) -> bool:
    if not any(mark in value for mark in _GOES_ON):
        return False
    return not decode_model(BatchState, value).status.is_terminal
