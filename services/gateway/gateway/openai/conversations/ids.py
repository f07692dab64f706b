"""Ids of conversations, bound to their tenant like those of jobs.

    conv_<32 hex of a UUIDv7><10 hex of a MAC>

An id that was issued is a conversation: an empty one until something is said in it.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final
from uuid import UUID

from penstock_contracts.mac import hmac_sha256

__all__ = ["ConversationIds", "created_at", "has_time"]

_MAC_HEX: Final = 10
"""As of job ids."""
_FORM: Final = re.compile(r"conv_([0-9a-f]{32})([0-9a-f]{10})")


@dataclass(frozen=True, slots=True)
class ConversationIds:
    """Issues and checks ids under the deployment's id secret."""

    secret: bytes

    def issue(self, *, tenant: str, uuid: UUID) -> str:
        """A new id."""
        return f"conv_{uuid.hex}{self._mac(tenant, uuid.hex)}"

    def was_issued(self, conversation: str, *, tenant: str) -> bool:
        """Whether a gateway of this deployment issued the id for this tenant."""
        found = _FORM.fullmatch(conversation)
        return found is not None and hmac.compare_digest(found[2], self._mac(tenant, found[1]))

    def _mac(self, tenant: str, uuid_hex: str) -> str:
        text = f"conversation\n{tenant}\n{uuid_hex}".encode()
        return hmac_sha256(self.secret, text).hex()[:_MAC_HEX]


def created_at(conversation: str) -> datetime:
    """When an issued id was made, to the millisecond."""
    return datetime.fromtimestamp(int(conversation[5:17], 16) / 1000, tz=timezone.utc)


def has_time(conversation: str) -> bool:
    """Whether the id tells when it was made: those of an Idempotency-Key do not."""
    return conversation[17] == "7"
