"""One-use socket tickets: browsers cannot set headers, and credentials must not stand in a URL."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import orjson
from penstock_contracts.credentials import Scope

from penstock_kit.auth.principal import AuthError, Principal
from penstock_kit.redis_client import RedisClient, redis_errors

__all__ = ["TICKET_LIFETIME", "Tickets"]

TICKET_LIFETIME = timedelta(seconds=30)
_FORM = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_BYTES = 32


class Tickets:
    """Issues and redeems tickets in Redis; only a hash of the ticket is kept there."""

    def __init__(
        self,
        redis: RedisClient,
        *,
        lifetime: timedelta = TICKET_LIFETIME,
        random_token: Callable[[int], str] = secrets.token_urlsafe,
    ) -> None:
        self._redis = redis
        self._lifetime = lifetime
        self._random_token = random_token

    async def issue(self, principal: Principal) -> str:
        """A ticket that lets its bearer in once, as this principal.

        Raises:
            TableAway: Redis does not answer; use the Authorization header or the `auth` message.
        """
        ticket = self._random_token(_BYTES)
        with redis_errors("issuing a socket ticket"):
            await self._redis.set(
                _key(ticket),
                _encode(principal),
                nx=True,
                px=max(1, round(self._lifetime.total_seconds() * 1000)),
            )
        return ticket

    async def redeem(self, ticket: str) -> Principal:
        """The principal of a ticket, which is void from then on.

        Raises:
            AuthError: `invalid_ticket`: unknown, used or older than its lifetime.
            TableAway: Redis does not answer.
        """
        if _FORM.fullmatch(ticket) is None:
            raise _invalid()
        with redis_errors("redeeming a socket ticket"):
            found = await self._redis.getdel(_key(ticket))
        if found is None:
            raise _invalid()
        return _decode(found)


def _key(ticket: str) -> str:
    return f"ps:ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"


def _encode(principal: Principal) -> bytes:
    return orjson.dumps(
        {
            "tenant": principal.tenant,
            "user": principal.user,
            "level": principal.level,
            "credential": principal.credential,
            "expires_at": principal.expires_at and principal.expires_at.isoformat(),
        }
    )


def _decode(raw: bytes | str) -> Principal:
    kept = orjson.loads(raw)
    expires_at = kept["expires_at"]
    return Principal(
        tenant=kept["tenant"],
        user=kept["user"],
        level=Scope(kept["level"]),
        credential=kept["credential"],
        expires_at=datetime.fromisoformat(expires_at) if expires_at else None,
    )


def _invalid() -> AuthError:
    return AuthError(
        "the ticket is unknown, used, or older than 30 s; get another from POST /v1/socket-tickets",
        code="invalid_ticket",
    )
