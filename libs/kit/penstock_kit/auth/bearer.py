"""Authenticates a bearer credential: an API key or a JWT, told apart by their form."""

from __future__ import annotations

from penstock_kit.auth.api_keys import KEY_PREFIX, ApiKeys
from penstock_kit.auth.jwt_tokens import JwtTokens
from penstock_kit.auth.principal import AuthError, Principal

__all__ = ["BearerAuthenticator", "bearer_token"]

_JWT_PREFIX = "jwt:"
_JWT_DOTS = 2


def bearer_token(header: str | None) -> str:
    """The credential of an `Authorization: Bearer <credential>` header.

    Raises:
        AuthError: `missing_credentials`.
    """
    scheme, _, credential = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise AuthError(
            "no credentials; send `Authorization: Bearer <API key or JWT>`",
            code="missing_credentials",
        )
    return credential.strip()


class BearerAuthenticator:
    """Implements `Authenticator`: no I/O, safe on the event loop."""

    def __init__(self, *, keys: ApiKeys, tokens: JwtTokens) -> None:
        self._keys = keys
        self._tokens = tokens

    def authenticate(self, credential: str) -> Principal:
        """The caller behind an API key or a JWT.

        Raises:
            AuthError: with a code and a sentence that tells what to do.
        """
        if not credential:
            raise AuthError(
                "the credential is empty; send an API key or a JWT", code="missing_credentials"
            )
        # What has not the form of a JWT was meant as a key, perhaps of another service.
        if credential.startswith(KEY_PREFIX) or credential.count(".") != _JWT_DOTS:
            return self._keys.authenticate(credential)
        return self._tokens.authenticate(credential)

    def lapse_of(self, principal: Principal) -> AuthError | None:
        """Why the credential no longer holds; None: it does."""
        if principal.credential.startswith(_JWT_PREFIX):
            return self._tokens.lapse_of(principal)
        return self._keys.lapse_of(principal.credential)
