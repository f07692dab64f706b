"""Who may speak: the body of `ai.credentials.v1` (compacted, key = credential id).

Secrets never lie here in clear.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from penstock_contracts.models import Fact, Identifier, Timestamp

__all__ = ["ApiKey", "Credential", "CredentialAdapter", "Producer", "Scope"]


class Scope(StrEnum):
    """How far a credential reaches inside its tenant; each includes the one before."""

    USER = "user"
    """Jobs of its own user."""
    TENANT = "tenant"
    """All jobs of its tenant."""
    ADMIN = "admin"
    """All jobs of its tenant, and operator calls of the deployment."""


class ApiKey(Fact):
    """An API key `pk_<id>.<secret>`: only the SHA-256 of the secret is kept."""

    type: Literal["api_key"] = "api_key"
    id: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tenant: Identifier
    user: Identifier
    scope: Scope
    name: str = ""
    created_at: Timestamp
    expires_at: Timestamp | None = None
    revoked_at: Timestamp | None = None


class Producer(Fact):
    """A service that writes request events itself, and the tenants that it may speak for.

    Its signing secret is HMAC(id secret, "producer" LF id LF generation): it is stored nowhere.
    """

    type: Literal["producer"] = "producer"
    id: Identifier
    tenants: list[Identifier] = Field(
        description="Every tenant whose jobs this producer may write."
    )
    generation: int = Field(default=1, ge=1)
    created_at: Timestamp
    revoked_at: Timestamp | None = None


Credential = Annotated[ApiKey | Producer, Field(discriminator="type")]
CredentialAdapter: TypeAdapter[Credential] = TypeAdapter(Credential)
