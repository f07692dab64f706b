"""One typed tree per service, read once in `__main__` from `PENSTOCK_*` variables.

Groups that every service shares are `PENSTOCK_KAFKA__*`, `PENSTOCK_REDIS__*` and so on; a service's
own are `PENSTOCK_GATEWAY__*`, `PENSTOCK_LLM_WORKER__*`, ... One ConfigMap can therefore serve all
of them: a service skips the groups of its sisters, and refuses every other variable that it does
not know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

from penstock_contracts.topics import FIXED_TOPICS
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from penstock_kit.durations import Seconds
from penstock_kit.errors import Fatal
from penstock_kit.settings_groups import (
    AdminSettings,
    AuthSettings,
    BlobSettings,
    Group,
    JwtIssuer,
    KafkaSettings,
    LogSettings,
    RedisSettings,
)

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
    "STUCK_AFTER",
    "Seconds",
    "load_settings",
    "require",
]

PREFIX = "PENSTOCK_"
SERVICES = (
    "GATEWAY",
    "LLM_WORKER",
    "EMBEDDER",
    "RECORDER",
    "NOTIFIER",
    "METER",
    "DEV",
    "CLIENT",
    "WEBHOOKS",
)
"""First words of the groups that belong to some services only; the others skip them."""


STUCK_AFTER = timedelta(seconds=12)
"""Silence after which a process says of itself that it is stuck; probes have seen it by 15 s."""

_RECORD_RESERVE_BYTES = 64 * 1024
"""Headers, the rest of the event, and what a dead letter adds."""
_SMALLEST_RECORD_LIMIT = min(topic.max_message_bytes for topic in FIXED_TOPICS)
_SERVICE_LINK = re.compile(r"_SERVICE_(?:HOST|PORT)(?:_\w+)?$")


class BadSettings(Fatal):
    """The configuration cannot work; the service refuses to start and says what to change."""


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
    providers_file: Path | None = Field(
        default=None,
        description="providers.yaml: the llm-worker calls its providers, the gateway reads the"
        " names of its models.",
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
            self.kafka.delivery_timeout < self.drain_timeout,
            "PENSTOCK_KAFKA__DELIVERY_TIMEOUT must be below PENSTOCK_DRAIN_TIMEOUT, else the last"
            " results cannot be written while the service drains",
        )
        require(
            self.blobs.inline_limit_bytes + _RECORD_RESERVE_BYTES <= _SMALLEST_RECORD_LIMIT,
            "PENSTOCK_BLOBS__INLINE_LIMIT_BYTES must be at most"
            f" {_SMALLEST_RECORD_LIMIT - _RECORD_RESERVE_BYTES}, else a record with its headers is"
            " larger than its topic takes",
        )
        require(
            self.blobs.inline_limit_bytes <= self.blobs.max_bytes,
            "PENSTOCK_BLOBS__INLINE_LIMIT_BYTES must not be above PENSTOCK_BLOBS__MAX_BYTES",
        )
        require(
            self.redis.timeout < self.redis.lease / 3,
            "PENSTOCK_REDIS__TIMEOUT must be below a third of PENSTOCK_REDIS__LEASE, else one slow"
            " answer makes a worker that lives look dead",
        )
        require(
            self.redis.lease < STUCK_AFTER,
            f"PENSTOCK_REDIS__LEASE must be below {STUCK_AFTER.total_seconds():.0f} s, when workers"
            " count as stuck, else jobs of a worker that died stand still although all others are"
            " well",
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


def load_settings(cls: type[S]) -> S:
    """Read the environment and check it.

    Raises:
        BadSettings: every problem, one line each, with the variable's name.
    """
    problems = _unknown(cls, os.environ)
    try:
        settings = cls()
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems += [line for problem in found for line in _sentences(cls, problem)]
    except SettingsError as error:
        problems.append(f"{error}; lists and maps are written as JSON")
    if problems:
        raise BadSettings(
            "the configuration cannot work:\n" + "\n".join(f"  - {line}" for line in problems)
        )
    return settings


def _unknown(cls: type[PlatformSettings], environ: Mapping[str, str]) -> list[str]:
    known = tuple(f"{PREFIX}{name.upper()}" for name in cls.model_fields)
    sisters = tuple(f"{PREFIX}{service}__" for service in SERVICES)
    return [
        f"{name} is not a setting of this service; remove it or correct the spelling"
        for name, value in sorted(environ.items())
        if name.startswith(PREFIX)
        and not name.startswith(sisters)
        and not any(name == field or name.startswith(f"{field}__") for field in known)
        and not _is_service_link(name, value)
    ]


def _is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes set the variable for a Service whose name begins with `penstock-`."""
    return value.startswith(("tcp://", "udp://")) or _SERVICE_LINK.search(name) is not None


def _sentences(cls: type[PlatformSettings], problem: Any) -> list[str]:
    where = tuple(str(part) for part in problem["loc"])
    name = PREFIX + "__".join(where).upper()
    match problem["type"]:
        case "missing":
            behind = _required_below(cls, where) or [name]
            return [f"{missing} is missing; set it" for missing in behind]
        case "extra_forbidden":
            return [f"{name} is not a setting; remove it or correct the spelling"]
        case "value_error":
            said = problem["msg"].removeprefix("Value error, ")
            return [f"{name}: {said}" if where else said]
        case _:
            return [f"{name}: {problem['msg']}"]


def _required_below(cls: type[BaseModel], where: tuple[str, ...]) -> list[str]:
    """The variables behind a missing member: itself, or what a missing group needs."""
    model: Any = cls
    for part in where:
        field = model.model_fields.get(part) if _is_group(model) else None
        model = field.annotation if field is not None else None
    name = PREFIX + "__".join(where).upper()
    if not _is_group(model):
        return [name]
    return [
        f"{name}__{member.upper()}"
        for member, field in model.model_fields.items()
        if field.is_required()
    ]


def _is_group(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)
