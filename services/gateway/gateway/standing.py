"""Credentials that end while their holder is being served: a stream can outlive its token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from penstock_kit.auth.principal import AuthError, Principal

from gateway.errors import ApiError
from gateway.mailbox import Closing

__all__ = ["LapseOf", "Standing", "lapsed"]

LapseOf = Callable[[Principal], AuthError | None]
"""Why a credential no longer holds; None: it does. See `Authenticator.lapse_of`."""

_SENTENCES: Final = {
    "revoked_api_key": "the API key was revoked while the job ran",
    "expired_api_key": "the API key expired while the job ran, and the job runs on; come for its "
    "answer with a new key",
    "expired_token": "the token expired while the job ran, and the job runs on; come for its "
    "answer with a fresh token",
}


class Standing:
    """Looks at one caller's credential every so often, however much its stream has to say."""

    __slots__ = ("_every_s", "_lapse_of", "_look_at", "_now", "_principal")

    def __init__(self, principal: Principal, lapse_of: LapseOf, *, every_s: float) -> None:
        self._principal = principal
        self._lapse_of = lapse_of
        self._every_s = every_s
        self._now = asyncio.get_running_loop().time
        self._look_at = self._now() + every_s

    def check(self) -> None:
        """Called before each piece of a stream; between two looks it costs a comparison.

        Raises:
            Closing: the credential no longer holds; the reason is the code of its error.
        """
        now = self._now()
        if now < self._look_at:
            return
        self._look_at = now + self._every_s
        error = self._lapse_of(self._principal)
        if error is not None:
            raise Closing(error.code)


def lapsed(reason: str) -> ApiError:
    """What a caller is told whose stream `Standing` has closed."""
    return ApiError(reason, _SENTENCES[reason])
