"""API keys `pk_<id>.<secret>`: made once, kept as a hash, checked without a round trip.

A fast hash is right here: the secret has 256 random bits, so there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from penstock_contracts.credentials import ApiKey, Scope

from penstock_kit.auth.principal import AuthError, Principal
from penstock_kit.clock import Clock

__all__ = ["KEY_PREFIX", "ApiKeys", "NewApiKey", "make_api_key"]

KEY_PREFIX = "pk_"
_FORM = re.compile(r"pk_([A-Za-z0-9]{1,64})\.([A-Za-z0-9_-]{16,128})", re.ASCII)
_ID_BYTES = 8
_SECRET_BYTES = 32
_NOBODY = hashlib.sha256(b"nobody has this key").hexdigest()
"""Compared with where the id is unknown, so that the time tells nothing."""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key at the only moment at which its secret exists in clear: show `token`, keep `record`."""

    token: str
    record: ApiKey


def make_api_key(
    *,
    tenant: str,
    user: str,
    scope: Scope,
    now: datetime,
    name: str = "",
    expires_at: datetime | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> NewApiKey:
    """A new key; it holds once `record` lies in `ai.credentials.v1` under its id."""
    key_id = random_bytes(_ID_BYTES).hex()
    secret = random_bytes(_SECRET_BYTES).hex()
    record = ApiKey(
        id=key_id,
        sha256=_digest(secret),
        tenant=tenant,
        user=user,
        scope=scope,
        name=name,
        created_at=now,
        expires_at=expires_at,
    )
    return NewApiKey(f"{KEY_PREFIX}{key_id}.{secret}", record)


class ApiKeys:
    """All API keys of the deployment, in memory; `CredentialTable` keeps them current."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[str, ApiKey] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, key: ApiKey) -> None:
        """Add a key or replace what is known of it."""
        self._keys[key.id] = key

    def remove(self, key_id: str) -> None:
        """Forget a key; an unknown one is no error."""
        self._keys.pop(key_id, None)

    def authenticate(self, credential: str) -> Principal:
        """The holder of `pk_<id>.<secret>`.

        Raises:
            AuthError: `invalid_api_key`; or, for the right secret only, `revoked_api_key` or
                `expired_api_key`.
        """
        found = _FORM.fullmatch(credential)
        key_id, secret = found.groups() if found is not None else ("", "")
        key = self._keys.get(key_id)
        is_right = hmac.compare_digest(_digest(secret), key.sha256 if key is not None else _NOBODY)
        if key is None or not is_right:
            raise AuthError(
                "the API key is not known; check that it was copied whole (pk_<id>.<secret>), or"
                " create one with `penstock token create`",
                code="invalid_api_key",
            )
        lapse = self._lapse(key)
        if lapse is not None:
            raise lapse
        return Principal(
            tenant=key.tenant,
            user=key.user,
            level=key.scope,
            credential=key.id,
            expires_at=key.expires_at,
        )

    def lapse_of(self, key_id: str) -> AuthError | None:
        """`revoked_api_key` or `expired_api_key`; None: the key holds. A lost key is revoked."""
        key = self._keys.get(key_id)
        return _revoked(key_id) if key is None else self._lapse(key)

    def _lapse(self, key: ApiKey) -> AuthError | None:
        if self._is_revoked(key):
            return _revoked(key.id)
        if self._is_expired(key):
            return AuthError(
                f"the API key {key.id!r} has expired; create another with `penstock token create`",
                code="expired_api_key",
            )
        return None

    def _is_revoked(self, key: ApiKey) -> bool:
        # Present means revoked, whatever its instant: clocks of operators differ from ours.
        return key.revoked_at is not None

    def _is_expired(self, key: ApiKey) -> bool:
        return key.expires_at is not None and key.expires_at <= self._clock.now()


def _revoked(key_id: str) -> AuthError:
    return AuthError(
        f"the API key {key_id!r} was revoked; create another with `penstock token create`",
        code="revoked_api_key",
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
