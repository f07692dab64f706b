"""Why a socket was closed, for the client to act on; docs/websocket.md is checked against this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

__all__ = [
    "AUTH_TIMEOUT",
    "CLOSE_CODES",
    "CONNECTION_LIMIT",
    "EXPIRED",
    "FORBIDDEN",
    "INTERNAL",
    "MAX_AGE",
    "NO_PONG",
    "RATE_LIMIT",
    "RESTART",
    "SLOW_CONSUMER",
    "TRY_LATER",
    "UNAUTHENTICATED",
    "UNSUPPORTED",
    "Close",
    "Then",
    "reason_text",
]

_MAX_REASON_BYTES: Final = 123
"""A close frame holds 125 bytes, two of them the code (RFC 6455, 5.5)."""


class Then(StrEnum):
    """What a client does after a close."""

    RECONNECT = "reconnect"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Close:
    """One way in which a socket ends. `reason` is the text in the close frame."""

    code: int
    name: str
    then: Then
    reason: str
    meaning: str


INTERNAL = Close(
    1011, "internal", Then.RECONNECT, "internal error", "A fault of the server on this socket."
)
RESTART = Close(
    1012,
    "restart",
    Then.RECONNECT,
    "restarting",
    "The server is restarting; another one takes over.",
)
TRY_LATER = Close(
    1013,
    "try_later",
    Then.RECONNECT,
    "come back later",
    "Tickets cannot be checked at the moment, or the server is full.",
)
SLOW_CONSUMER = Close(
    4408,
    "slow_consumer",
    Then.RECONNECT,
    "slow consumer",
    "The client did not read fast enough: over 256 frames or 1 MiB were waiting, or nothing"
    " was read for 5 s.",
)
NO_PONG = Close(
    4409, "no_pong", Then.RECONNECT, "no pong", "Two pings of the server were not answered."
)
MAX_AGE = Close(4410, "max_age", Then.RECONNECT, "max age", "The socket reached its highest age.")
RATE_LIMIT = Close(
    4429,
    "rate_limit",
    Then.RECONNECT,
    "too many messages",
    "More than 20 messages a second, or too many connections of this user or tenant.",
)
CONNECTION_LIMIT = Close(
    4429, "rate_limit", Then.RECONNECT, "too many connections", RATE_LIMIT.meaning
)
UNSUPPORTED = Close(
    1003, "unsupported", Then.FINAL, "text frames only", "The client sent a binary frame."
)
UNAUTHENTICATED = Close(
    4401,
    "unauthenticated",
    Then.FINAL,
    "not authenticated",
    "No credential, a wrong one, or one that has expired: get a new credential or ticket first.",
)
AUTH_TIMEOUT = Close(
    4401, "unauthenticated", Then.FINAL, "no auth message within 5 s", UNAUTHENTICATED.meaning
)
EXPIRED = Close(
    4401, "unauthenticated", Then.FINAL, "the credential has expired", UNAUTHENTICATED.meaning
)
FORBIDDEN = Close(
    4403,
    "forbidden",
    Then.FINAL,
    "the credential was revoked",
    "The credential was revoked while the socket was open.",
)

CLOSE_CODES: Final = (
    INTERNAL,
    RESTART,
    TRY_LATER,
    SLOW_CONSUMER,
    NO_PONG,
    MAX_AGE,
    RATE_LIMIT,
    Close(
        1002, "protocol_error", Then.FINAL, "", "The client broke the WebSocket protocol itself."
    ),
    UNSUPPORTED,
    Close(1007, "not_utf8", Then.FINAL, "", "A text frame was not UTF-8."),
    Close(1009, "too_big", Then.FINAL, "", "A message was larger than 64 KiB."),
    UNAUTHENTICATED,
    FORBIDDEN,
)
"""Every code that the server sends, once each."""


def reason_text(close: Close, *, resume_after_ms: int | None = None) -> str:
    """The text of the close frame: JSON with a hint when to come back, else the plain reason."""
    if resume_after_ms is None:
        return close.reason
    text = orjson.dumps({"resume_after_ms": resume_after_ms, "reason": close.name}).decode()
    assert len(text) <= _MAX_REASON_BYTES
    return text
