"""One typed tree per service, read once in `__main__` from `PENSTOCK_*` variables.

Groups that every service shares are `PENSTOCK_KAFKA__*`, `PENSTOCK_REDIS__*` and so on; a service's
own are `PENSTOCK_GATEWAY__*`, `PENSTOCK_LLM_WORKER__*`, ... One ConfigMap can therefore serve all
of them: a service skips the groups of its sisters, and refuses every other variable that it does
not know.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock_kit.errors import Fatal

__all__ = [
    "AdminSettings",
    "AuthSettings",
    "BadSettings",
    "BlobSettings",
    "Group",
    "JwtIssuer",
    "KafkaSettings",
    "LogSettings",
    "PlatformSettings",
    "RedisSettings",
    "load_settings",
    "require",
]

PREFIX = "PENSTOCK_"
SERVICES = ("GATEWAY", "LLM_WORKER", "EMBEDDER", "RECORDER", "NOTIFIER", "METER", "DEV", "CLIENT")
"""First words of the groups that belong to one service each."""

Seconds = Annotated[timedelta, Field(gt=timedelta(0))]


_MIN_SECRET_CHARS = 32


class BadSettings(Fatal):
    """The configuration cannot work; the service refuses to start and says what to change."""


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
        default=timedelta(seconds=10), description="Silence after which a member is gone."
    )
    max_poll_interval: Seconds = Field(
        default=timedelta(minutes=5),
        description="Silence of the poll thread after which it counts as dead.",
    )
    delivery_timeout: Seconds = Field(
        default=timedelta(seconds=15),
        description="How long a write may wait for its acknowledgement.",
    )


class RedisSettings(Group):
    """How to reach Redis."""

    url: SecretStr = Field(description="redis://host:port/db or rediss://...")
    timeout: Seconds = Field(
        default=timedelta(seconds=1), description="Longest wait for one answer."
    )


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

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535, description="0 picks a free port and logs it.")


class LogSettings(Group):
    """How to log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class JwtIssuer(Group):
    """A party whose signed tokens we accept, with its key: there is no key discovery."""

    issuer: str
    audience: str
    algorithm: Literal["RS256", "ES256", "EdDSA", "HS256"]
    key: SecretStr = Field(
        description="Public key in PEM, or the shared secret (at least 32 bytes) for HS256."
    )
    tenant_claim: str = "tenant"
    scope_claim: str = "scope"


class AuthSettings(Group):
    """Who may come in."""

    jwt: list[JwtIssuer] = Field(default_factory=list)
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


class PlatformSettings(BaseSettings):
    """What every service needs. Services derive from it and add their own group."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings
    redis: RedisSettings
    blobs: BlobSettings
    auth: AuthSettings
    admin: AdminSettings
    log: LogSettings = LogSettings()
    tasks_file: Path | None = Field(
        default=None, description="tasks.yaml; None: the built-in tasks."
    )
    drain_timeout: Seconds = Field(
        default=timedelta(seconds=25), description="Longest wait for running work on SIGTERM."
    )
    grace_period: Seconds = Field(
        default=timedelta(seconds=30),
        description="What the supervisor grants between SIGTERM and SIGKILL.",
    )
    instance: str = Field(
        default_factory=lambda: os.environ.get("HOSTNAME", "local"),
        description="Name of this process in logs and events.",
    )

    @model_validator(mode="after")
    def _timeouts_fit(self) -> Self:
        require(
            self.drain_timeout < self.grace_period,
            "PENSTOCK_DRAIN_TIMEOUT must be below PENSTOCK_GRACE_PERIOD, else running work"
            " is killed while it drains",
        )
        require(
            self.kafka.session_timeout < self.kafka.max_poll_interval,
            "PENSTOCK_KAFKA__SESSION_TIMEOUT must be below PENSTOCK_KAFKA__MAX_POLL_INTERVAL",
        )
        return self


def require(holds: bool, sentence: str) -> None:  # noqa: FBT001 - it reads as an assertion
    """State an inequality between settings; `sentence` tells which variables and how to mend it.

    Raises:
        ValueError: inside a validator, where pydantic turns it into part of the refusal.
    """
    if not holds:
        raise ValueError(sentence)


S = TypeVar("S", bound=PlatformSettings)


def load_settings(cls: type[S], *, environ: Mapping[str, str] | None = None) -> S:
    """Read and check the settings of a service.

    Raises:
        BadSettings: every problem, one line each, with the variable's name.
    """
    problems = _unknown(cls, os.environ if environ is None else environ)
    try:
        settings = cls()
    except ValidationError as error:
        problems += [
            _sentence(problem) for problem in error.errors(include_url=False, include_input=False)
        ]
    if problems:
        raise BadSettings(
            "the configuration cannot work:\n" + "\n".join(f"  - {line}" for line in problems)
        )
    return settings


def _unknown(cls: type[PlatformSettings], environ: Iterable[str]) -> list[str]:
    known = tuple(f"{PREFIX}{name.upper()}" for name in cls.model_fields)
    sisters = tuple(f"{PREFIX}{service}__" for service in SERVICES)
    return [
        f"{name} is not a setting of this service; remove it or correct the spelling"
        for name in sorted(environ)
        if name.startswith(PREFIX)
        and not name.startswith(sisters)
        and not any(name == field or name.startswith(f"{field}__") for field in known)
    ]


def _sentence(problem: Any) -> str:
    where = (
        PREFIX + "__".join(str(part).upper() for part in problem["loc"])
        if problem["loc"]
        else "settings"
    )
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
