"""Why a socket of `/v1/responses` ends. The SDK of OpenAI comes again on 1001, 1011, 1012, 1013."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "AGED",
    "CLOSE_CODES",
    "CROWDED",
    "INTERNAL",
    "NOT_TEXT",
    "RESTART",
    "REVOKED",
    "SLOW",
    "TOO_FAST",
    "Close",
]


@dataclass(frozen=True, slots=True)
class Close:
    """One way to end; `name` is for figures, `reason` goes into the close frame."""

    code: int
    name: str
    reason: str


AGED: Final = Close(1001, "aged", "the socket reached its highest age; connect again")
NOT_TEXT: Final = Close(1003, "not_text", "text frames only")
REVOKED: Final = Close(1008, "revoked", "the credential has ended; get a new one")
TOO_FAST: Final = Close(1008, "too_fast", "too many messages a second")
INTERNAL: Final = Close(1011, "internal", "internal error; connect again")
RESTART: Final = Close(1012, "restart", "restarting; connect again and resume")
CROWDED: Final = Close(1013, "crowded", "too many sockets; try again later")
SLOW: Final = Close(1013, "slow", "slow reader; connect again and resume")

CLOSE_CODES: Final = (AGED, NOT_TEXT, REVOKED, TOO_FAST, INTERNAL, RESTART, CROWDED, SLOW)
"""Every way of ours; the server itself also ends with 1002, 1007, 1009 and 1011 (no pong)."""
