"""limits.yaml: how many jobs who may submit per window, and how many may wait."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import yaml
from penstock_contracts.models import Identifier, Name
from penstock_kit.auth.principal import Principal
from penstock_kit.errors import Fatal
from penstock_kit.settings import Seconds
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = ["BacklogBounds", "BadLimitsFile", "LimitBook", "LimitRule", "Quota", "load_limits"]

_SHORTEST = timedelta(seconds=1)
_LONGEST = timedelta(days=7)
"""Windows live in Redis that long after the last request of their owner."""


class BadLimitsFile(Fatal):
    """limits.yaml cannot be used; the message names the entry and the fix."""


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitScope(StrEnum):
    """Whose requests a rule counts together."""

    USER = "user"
    TENANT = "tenant"
    API_KEY = "api_key"


class LimitRule(_Config):
    """At most `limit` jobs in any window of the length `per`."""

    scope: LimitScope = Field(
        description="Whose jobs are counted together: of a user, a tenant, or an API key (or JWT"
        " subject)."
    )
    task: Name | None = Field(default=None, description="Only jobs of this task; none: of all.")
    limit: int = Field(ge=1, le=1_000_000_000, description="Jobs that pass in any window.")
    per: Seconds = Field(description="Length of the window, 1s to 7d.")
    name: Name | None = Field(
        default=None,
        description="Name in headers, errors and `tenants`; default `<scope>-<task>`, or the scope"
        " alone.",
    )

    @property
    def title(self) -> str:
        """The rule's name, given or made of its scope and task."""
        return self.name or "-".join(filter(None, (self.scope.value, self.task)))

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if not _SHORTEST <= self.per <= _LONGEST:
            raise ValueError("per: a window from 1s to 7d")
        return self


class BacklogBounds(_Config):
    """How many accepted jobs may be unfinished, and how long a new one may have to wait."""

    tenant: int = Field(
        default=20_000, ge=1, description="Unfinished jobs of one tenant; more are refused (429)."
    )
    total: int = Field(
        default=100_000, ge=1, description="Unfinished jobs of all tenants; more are refused (503)."
    )
    wait: Seconds | None = Field(
        default=None,
        description="Longest estimated wait of a new job; longer ones are refused (503). None: only"
        " a job's own deadline counts.",
    )


class TenantLimits(_Config):
    """What holds for one tenant instead."""

    limits: dict[Name, int | None] = Field(
        default_factory=dict,
        description="Another limit by the name of the rule; null lifts the rule for this tenant.",
    )
    backlog: int | None = Field(
        default=None, ge=1, description="Another bound of the tenant's unfinished jobs."
    )


class _File(_Config):
    limits: list[LimitRule] = Field(default_factory=list)
    backlog: BacklogBounds = BacklogBounds()
    tenants: dict[Identifier, TenantLimits] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        titles = Counter(rule.title for rule in self.limits)
        for title, count in titles.items():
            if count > 1:
                raise ValueError(
                    f"{count} limits are called {title!r}; give each a name of its own with `name:`"
                )
        for tenant, given in self.tenants.items():
            for title, limit in given.limits.items():
                if title not in titles:
                    known = ", ".join(sorted(titles)) or "none"
                    raise ValueError(
                        f"tenants.{tenant}.limits: no limit is called {title!r}; there are: {known}"
                    )
                if limit is not None and limit < 1:
                    raise ValueError(
                        f"tenants.{tenant}.limits.{title}: at least 1, or null to lift the limit"
                    )
        return self


@dataclass(frozen=True, slots=True)
class Quota:
    """A rule as it holds for one caller: who is counted (`owner`), how many, per what."""

    name: str
    owner: str
    limit: int
    window: timedelta


class LimitBook:
    """All limits of a deployment. No state, no I/O."""

    def __init__(
        self,
        rules: tuple[LimitRule, ...] = (),
        *,
        backlog: BacklogBounds | None = None,
        tenants: dict[str, TenantLimits] | None = None,
    ) -> None:
        self.backlog = backlog if backlog is not None else BacklogBounds()
        self._rules = rules
        self._tenants = tenants or {}

    @property
    def tasks(self) -> frozenset[str]:
        """Tasks that rules name; each must exist."""
        return frozenset(rule.task for rule in self._rules if rule.task is not None)

    def quotas(self, principal: Principal, task: str) -> tuple[Quota, ...]:
        """What counts a job of this task by this caller, in the order of the file."""
        if not self._rules:
            return ()
        own = self._tenants.get(principal.tenant)
        found = []
        for rule in self._rules:
            if rule.task is not None and rule.task != task:
                continue
            limit: int | None = rule.limit
            if own is not None:
                limit = own.limits.get(rule.title, limit)
            if limit is not None:
                found.append(Quota(rule.title, _owner(rule, principal), limit, rule.per))
        return tuple(found)

    def tenant_backlog(self, tenant: str) -> int:
        """How many unfinished jobs the tenant may have."""
        own = self._tenants.get(tenant)
        return self.backlog.tenant if own is None or own.backlog is None else own.backlog


def load_limits(path: Path | None, *, tasks: tuple[str, ...]) -> LimitBook:
    """The limits of the file; without one only the default bounds of the backlog.

    Raises:
        BadLimitsFile: unreadable, no YAML, an entry that makes no sense, or an unknown task.
    """
    if path is None:
        return LimitBook()
    try:
        file = _File.model_validate(yaml.safe_load(path.read_text()) or {})
    except ValidationError as error:
        raise BadLimitsFile(_sentence(path, _problems(error))) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadLimitsFile(_sentence(path, str(error))) from error
    book = LimitBook(tuple(file.limits), backlog=file.backlog, tenants=file.tenants)
    for task in sorted(book.tasks.difference(tasks)):
        problem = f"no task is called {task!r}; known tasks: {', '.join(tasks)}"
        raise BadLimitsFile(_sentence(path, problem))
    return book


def _owner(rule: LimitRule, principal: Principal) -> str:
    match rule.scope:
        case LimitScope.USER:
            return principal.user
        case LimitScope.API_KEY:
            return principal.credential
        case LimitScope.TENANT:
            return ""


def _problems(error: ValidationError) -> str:
    found: list[Any] = error.errors(include_url=False, include_input=False)
    return "; ".join(
        ": ".join(
            filter(
                None,
                (
                    ".".join(str(part) for part in problem["loc"]),
                    problem["msg"].removeprefix("Value error, "),
                ),
            )
        )
        for problem in found
    )


def _sentence(path: Path, problem: str) -> str:
    return f"cannot use the limits file {str(path)!r}: {problem}; see docs/limits.md"
