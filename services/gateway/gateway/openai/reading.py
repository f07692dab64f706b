"""Requests of the OpenAI API that are no job: who asks, and the decoded body."""

from __future__ import annotations

from typing import Any

from penstock_contracts.codec import decode_json
from penstock_contracts.errors import MalformedJson
from penstock_kit.auth.principal import Authenticator, Principal
from starlette.requests import Request

from gateway.admission.bodies import BodyBudget
from gateway.arriving import read_body
from gateway.callers import authenticated
from gateway.errors import ApiError
from gateway.http import named_headers
from gateway.parameters import check_content_type

__all__ = ["BodyReader", "decoded"]


class BodyReader:
    """Reads small requests whole."""

    def __init__(
        self, *, authenticator: Authenticator, bodies: BodyBudget, max_body_bytes: int
    ) -> None:
        self._authenticator = authenticator
        self._bodies = bodies
        self._max_body_bytes = max_body_bytes

    def caller(self, request: Request) -> Principal:
        """Who asks.

        Raises:
            ApiError: a 401.
        """
        return authenticated(self._authenticator, request)

    async def read(self, request: Request) -> Any:
        """The body as plain values; an empty one is None. Its bytes are given back by then.

        Raises:
            ApiError: it is no JSON, too large, or there is no room for it.
            ClientGoneError: the caller hung up.
        """
        headers = named_headers(request.scope)
        with self._bodies.share() as share:
            raw = await read_body(
                headers, request.receive, max_bytes=self._max_body_bytes, share=share
            )
            if not raw:
                return None
            check_content_type(headers.get("content-type"))
            return decoded(raw)


def decoded(raw: bytes) -> Any:
    """JSON as plain values.

    Raises:
        ApiError: malformed_json.
    """
    try:
        return decode_json(raw)
    except MalformedJson as error:
        message = f"We could not parse the JSON body of your request: {error}."
        raise ApiError("malformed_json", message) from None
