"""Who may connect: path, origin, subprotocol, and what the handshake says of the caller."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from penstock_kit.auth.bearer import bearer_token
from penstock_kit.auth.principal import AuthError
from websockets.http11 import Request

from notifier.session import Session
from notifier.wire import Wire
from notifier.wire_ports import SUBPROTOCOL, Refusal

if TYPE_CHECKING:
    from notifier.desk import Desk

__all__ = ["PATH", "SocketDoor"]

PATH: Final = "/v1/socket"


class SocketDoor:
    """Implements `Door`."""

    def __init__(self, desk: Desk, *, origins: Sequence[str]) -> None:
        self._desk = desk
        self._origins = frozenset(origins)

    def refusal(self, request: Request) -> Refusal | None:
        """Why the handshake is refused, or None; nothing of the request is repeated in it."""
        path, _ = _target(request)
        if path != PATH:
            return Refusal(HTTPStatus.NOT_FOUND, f"There is nothing here; connect to {PATH}.")
        if self._desk.roster.is_draining:
            return Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "This server is stopping; connect again in a second.",
            )
        if not self._is_allowed(request.headers.get_all("Origin")):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "Pages of this origin may not connect; the operator lists allowed ones in"
                " PENSTOCK_NOTIFIER__ORIGINS.",
            )
        offered = [
            name.strip()
            for value in request.headers.get_all("Sec-WebSocket-Protocol")
            for name in value.split(",")
        ]
        if offered and SUBPROTOCOL not in offered:
            return Refusal(
                HTTPStatus.BAD_REQUEST, f"Offer the subprotocol {SUBPROTOCOL}, or none at all."
            )
        return None

    def open(self, wire: Wire, request: Request) -> Session:
        """A session for an accepted connection."""
        session = Session(self._desk, wire)
        try:
            credential = _credential(request)
        except AuthError:
            credential = ""  # a header that holds no bearer token: refused as an empty one
        session.begin(credential=credential, ticket=_ticket(request))
        return session

    def _is_allowed(self, origins: Sequence[str]) -> bool:
        if not origins:
            return True  # no browser: nothing can be stolen from a page's visitor
        if len(origins) > 1 or origins[0] == "null":
            return False
        return origins[0] in self._origins or "*" in self._origins


def _credential(request: Request) -> str | None:
    values = request.headers.get_all("Authorization")
    return bearer_token(values[0]) if values else None


def _ticket(request: Request) -> str | None:
    _, query = _target(request)
    found = parse_qs(query).get("ticket")
    return found[0] if found else None


def _target(request: Request) -> tuple[str, str]:
    """Path and query of what was asked for; both empty if it is no URL, as `//[` is none."""
    try:
        parts = urlsplit(request.path)
    except ValueError:
        return "", ""
    return parts.path, parts.query
