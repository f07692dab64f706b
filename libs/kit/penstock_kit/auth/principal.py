"""Who is calling."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from penstock_contracts.credentials import Scope

from penstock_kit.errors import PenstockError
from penstock_kit.tenancy import TenantScope

__all__ = ["AuthError", "Authenticator", "Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    Attributes:
        credential: id of the key, or `jwt:<iss>:<sub>`; for logs and limits, never secret.
        expires_at: after this instant the credential is void; None: no end.
    """

    tenant: str
    user: str
    level: Scope
    credential: str
    expires_at: datetime | None = None

    @property
    def scope(self) -> TenantScope:
        """What this caller may see."""
        return TenantScope(self.tenant, self.user if self.level is Scope.USER else None)


class AuthError(PenstockError):
    """The credential is missing, malformed, unknown, expired or revoked.

    Attributes:
        code: `missing_credentials`, `invalid_api_key`, `expired_api_key`, `revoked_api_key`,
            `invalid_token`, `expired_token`, `invalid_ticket`.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class Authenticator(Protocol):
    """Turns a bearer credential into a principal without a round trip."""

    def authenticate(self, credential: str) -> Principal:
        """The caller behind an API key `pk_<id>.<secret>` or a JWT (without the word Bearer).

        Raises:
            AuthError: with a code and a sentence that tells what to do.
        """
        ...

    def lapse_of(self, principal: Principal) -> AuthError | None:
        """Why the credential no longer holds: expired, or revoked since. None: it holds."""
        ...
