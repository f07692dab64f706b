"""JWTs of configured issuers: no key discovery, one algorithm per key, short leeway."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms
from penstock_contracts.credentials import Scope
from penstock_contracts.models import Identifier
from pydantic import TypeAdapter, ValidationError

from penstock_kit.auth.principal import AuthError, Principal
from penstock_kit.clock import Clock
from penstock_kit.settings import BadSettings, JwtIssuer

__all__ = ["JwtTokens"]

_LEEWAY_S = 30
_MAX_TOKEN_CHARS = 8192
_LAST_INSTANT_S = 250_000_000_000
"""In the year 9892: `datetime` ends soon after, and no token lives that long."""
_MIN_SHARED_SECRET_BYTES = 32
_CACHE_SIZE = 4096
"""Verified tokens remembered by digest: checking an RSA signature costs more than the request."""
_REFUSED_HEADERS = ("crit", "jku", "jwk", "x5u", "x5c", "b64")
"""Each lets the token say how it wants to be checked."""
_ORDER = (Scope.USER, Scope.TENANT, Scope.ADMIN)
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


@dataclass(frozen=True, slots=True)
class _Key:
    issuer: JwtIssuer
    key: Any


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    expires_at_s: float


class JwtTokens:
    """Checks tokens against static issuers; several entries with one `issuer` allow key rotation.

    Raises:
        BadSettings: an issuer's key cannot be used with its algorithm.
    """

    def __init__(self, issuers: Sequence[JwtIssuer], clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[str, list[_Key]] = {}
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        for number, issuer in enumerate(issuers):
            self._keys.setdefault(issuer.issuer, []).append(_Key(issuer, _load_key(issuer, number)))

    def authenticate(self, token: str) -> Principal:
        """The caller that the token names.

        Raises:
            AuthError: `invalid_token` or `expired_token`.
        """
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self._verified.get(digest)
        if known is None:
            known = self._verify(token)
            self._remember(digest, known)
        if known.expires_at_s + _LEEWAY_S <= self._clock.now().timestamp():
            self._verified.pop(digest, None)
            raise _expired()
        return known.principal

    def lapse_of(self, principal: Principal) -> AuthError | None:
        """`expired_token`, or None; JWTs cannot be revoked one by one."""
        at, now = principal.expires_at, self._clock.now()
        is_live = at is not None and now.timestamp() < at.timestamp() + _LEEWAY_S
        return None if is_live else _expired()

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._verified[digest] = verified
        if len(self._verified) > _CACHE_SIZE:
            self._verified.popitem(last=False)

    def _verify(self, token: str) -> _Verified:
        candidates = self._candidates(token)
        failure: AuthError | None = None
        for candidate in candidates:
            try:
                claims = _decode(token, candidate)
            except AuthError as error:
                failure = error
            else:
                self._check_times(claims)
                return _Verified(_principal(claims, candidate.issuer), float(claims["exp"]))
        assert failure is not None
        raise failure

    def _candidates(self, token: str) -> list[_Key]:
        if len(token) > _MAX_TOKEN_CHARS:
            raise _invalid(f"it is longer than {_MAX_TOKEN_CHARS} characters")
        try:
            header = jwt.get_unverified_header(token)
            unverified = jwt.decode(token, options={"verify_signature": False})
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise _invalid("it is neither an API key (pk_...) nor a JWT") from None
        for name in _REFUSED_HEADERS:
            if name in header:
                raise _invalid(f"its header carries {name!r}, which is not accepted")
        issuer = unverified.get("iss")
        candidates = [
            key
            for key in self._keys.get(issuer if isinstance(issuer, str) else "", [])
            if key.issuer.algorithm == header.get("alg")
        ]
        if not candidates:
            raise _invalid("its issuer and algorithm are not among those that are configured")
        return candidates

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now().timestamp()
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name)
            if name in claims and (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value < _LAST_INSTANT_S
            ):
                raise _invalid(f"its claim {name!r} is no time")
        if claims["exp"] + _LEEWAY_S <= now:
            raise _expired()
        if claims.get("nbf", 0) - _LEEWAY_S > now or claims.get("iat", 0) - _LEEWAY_S > now:
            raise _invalid("it is not valid yet; compare the clocks of issuer and gateway")


def _decode(token: str, key: _Key) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.issuer.algorithm],
            audience=key.issuer.audience,
            issuer=key.issuer.issuer,
            # Times are checked against our clock; a test can then move it.
            options={
                "require": ["exp", "aud", "iss", "sub"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.MissingRequiredClaimError as error:
        raise _invalid(f"the claim {error.claim!r} is missing") from None
    except jwt.InvalidAudienceError:
        raise _invalid("it was made for another audience") from None
    except (jwt.InvalidTokenError, ValueError):
        raise _invalid("its signature or claims do not hold") from None


def _principal(claims: Mapping[str, Any], issuer: JwtIssuer) -> Principal:
    tenant = _identifier(claims, issuer.tenant_claim)
    user = _identifier(claims, "sub")
    return Principal(
        tenant=tenant,
        user=user,
        level=_level(claims.get(issuer.scope_claim)),
        credential=f"jwt:{issuer.issuer}:{user}",
        expires_at=datetime.fromtimestamp(float(claims["exp"]), tz=timezone.utc),
    )


def _identifier(claims: Mapping[str, Any], name: str) -> str:
    try:
        return _IDENTIFIER.validate_python(claims.get(name), strict=True)
    except ValidationError:
        raise _invalid(
            f"its claim {name!r} must be 1 to 128 of the characters A-Z a-z 0-9 . _ : @ / + -"
        ) from None


def _level(claim: Any) -> Scope:
    """The widest scope that the claim grants, as words or a list; `penstock:tenant` is `tenant`."""
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    granted = {word.removeprefix("penstock:") for word in words if isinstance(word, str)}
    return next((scope for scope in reversed(_ORDER) if scope.value in granted), Scope.USER)


def _load_key(issuer: JwtIssuer, number: int) -> Any:
    where = f"PENSTOCK_AUTH__JWT[{number}] (issuer {issuer.issuer!r})"
    secret = issuer.key.get_secret_value()
    if issuer.algorithm == "HS256" and (
        len(secret.encode()) < _MIN_SHARED_SECRET_BYTES or "-----BEGIN" in secret
    ):
        raise BadSettings(
            f"{where}: HS256 needs a shared secret of at least {_MIN_SHARED_SECRET_BYTES} bytes"
            " that is no PEM key; make one with `openssl rand -hex 32`"
        )
    try:
        return get_default_algorithms()[issuer.algorithm].prepare_key(secret)
    except (jwt.InvalidKeyError, ValueError, TypeError) as error:
        raise BadSettings(
            f"{where}: the key does not fit {issuer.algorithm}; give the public key in PEM"
        ) from error


def _invalid(reason: str) -> AuthError:
    return AuthError(
        f"the token is not accepted: {reason}; ask its issuer for another one", code="invalid_token"
    )


def _expired() -> AuthError:
    return AuthError("the token has expired; ask its issuer for another one", code="expired_token")
