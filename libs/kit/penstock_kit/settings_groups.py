"""The groups of settings that every service shares; read through `penstock_kit.settings`."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from penstock_kit.durations import Seconds

__all__ = [
    "AdminSettings",
    "AuthSettings",
    "BlobSettings",
    "Group",
    "JwtIssuer",
    "KafkaSettings",
    "LogSettings",
    "RedisSettings",
]

_MIN_SECRET_CHARS = 32
_SHORTEST_SESSION = timedelta(milliseconds=3)
"""Three heartbeats of a millisecond. Upper bounds of the group are those of librdkafka, whose
numbers of milliseconds would otherwise wrap around."""


class Group(BaseModel):
    """Base of a settings group: unknown members are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Group):
    """How to reach Kafka."""

    bootstrap: str = Field(description="Brokers, host:port separated by commas.")
    security: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="librdkafka security properties, e.g. security.protocol, sasl.username.",
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic",
        description="Rebalance protocol: classic (cooperative-sticky) or consumer (KIP-848).",
    )
    session_timeout: Seconds = Field(
        default=timedelta(seconds=10),
        ge=_SHORTEST_SESSION,
        le=timedelta(hours=1),
        description="Silence after which a member is gone.",
    )
    max_poll_interval: Seconds = Field(
        default=timedelta(minutes=5),
        le=timedelta(days=1),
        description="Silence of the poll thread after which it counts as dead.",
    )
    delivery_timeout: Seconds = Field(
        default=timedelta(seconds=15),
        le=timedelta(days=1),
        description="How long a write may wait for its acknowledgement.",
    )
    replication: int | None = Field(
        default=None,
        ge=1,
        le=32767,
        description="Copies of each topic that `penstock topics apply` makes; none: the brokers'"
        " `default.replication.factor`. Services do not use it.",
    )


class RedisSettings(Group):
    """How to reach Redis."""

    url: SecretStr = Field(description="redis://host:port/db or rediss://...")
    timeout: Seconds = Field(
        default=timedelta(seconds=1), description="Longest wait for one answer."
    )
    lease: Seconds = Field(
        default=timedelta(seconds=10),
        description="A worker that has not renewed its lease of a running job for so long counts as"
        " dead. It renews three times as often. The same in all workers, below 12 s.",
    )

    @field_validator("url")
    @classmethod
    def _leads_somewhere(cls, url: SecretStr) -> SecretStr:
        if not _is_redis_url(url.get_secret_value()):
            raise ValueError(
                "this is no address of Redis; write redis://:password@host:port/db, with TLS"
                " rediss://..., and %2F, %3A, %40 for / : @ in a password"
            )
        return url


def _is_redis_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port that is no number, or none that can be
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and port != 0


class BlobSettings(Group):
    """Where inputs and results over the inline limit lie."""

    url: str = Field(description="file:///path, s3://bucket/prefix, gs://... or az://...")
    inline_limit_bytes: int = Field(
        default=256 * 1024, gt=0, description="Larger bodies travel by claim check."
    )
    max_bytes: int = Field(
        default=64 * 1024 * 1024, gt=0, description="Bodies above this are refused altogether."
    )


class AdminSettings(Group):
    """The port for health, readiness and metrics; never exposed to users."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(ge=0, le=65535, description="0 picks a free port and logs it.")


class LogSettings(Group):
    """How to log."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe event that is written."
    )
    format: Literal["json", "console"] = Field(
        default="json", description="json: one object per line; console: for people."
    )


class JwtIssuer(Group):
    """A party whose signed tokens we accept, with its key: there is no key discovery."""

    issuer: str = Field(description="The token's `iss`.")
    audience: str = Field(description="What the token's `aud` must name.")
    algorithm: Literal["RS256", "ES256", "EdDSA", "HS256"] = Field(
        description="The only one that is accepted of this issuer."
    )
    key: SecretStr = Field(
        description="Public key in PEM, or the shared secret (at least 32 bytes) for HS256."
    )
    tenant_claim: str = Field(default="tenant", description="Claim that names the tenant.")
    scope_claim: str = Field(default="scope", description="Claim that holds the scope.")


class AuthSettings(Group):
    """Who may come in."""

    jwt: list[JwtIssuer] = Field(
        default_factory=list, description="Issuers whose tokens come in beside API keys."
    )
    id_secret: SecretStr = Field(
        description="At least 32 characters; the same for every service of a deployment."
    )
    verify_producers: bool = Field(
        default=True,
        description="Refuse request events without a valid signature; off only on loopback.",
    )

    @model_validator(mode="after")
    def _secret_is_long(self) -> Self:
        if len(self.id_secret.get_secret_value()) < _MIN_SECRET_CHARS:
            raise ValueError(
                f"id_secret needs at least {_MIN_SECRET_CHARS} characters;"
                " make one with `openssl rand -hex 32`"
            )
        return self
