"""What a command talks to: an option, else the environment, else the stack of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
from penstock_kit.settings import Group, KafkaSettings, RedisSettings
from penstock_kit.tasks import TaskCatalog, load_tasks
from penstock_kit.webhooks.settings import WebhookSettings
from pydantic import ValidationError

from penstock.dev.endpoints import DevJson, read_dev_json
from penstock.dev.paths import StackPaths, find_stack
from penstock.errors import NoStack, WrongUse

__all__ = [
    "DataOption",
    "GatewayOption",
    "JsonOption",
    "KafkaOption",
    "KeyOption",
    "NotifierOption",
    "Target",
]

GatewayOption = Annotated[
    str | None,
    typer.Option("--gateway", help="http(s)://host:port; default $PENSTOCK_CLIENT__GATEWAY."),
]
NotifierOption = Annotated[
    str | None,
    typer.Option(
        "--notifier",
        help="ws(s)://host:port, with or without /v1/socket; default $PENSTOCK_CLIENT__NOTIFIER.",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key", help="API key or JWT; default $PENSTOCK_CLIENT__API_KEY.", show_default=False
    ),
]
KafkaOption = Annotated[
    str | None, typer.Option("--kafka", help="Brokers; default $PENSTOCK_KAFKA__BOOTSTRAP.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of a stack; default the nearest .penstock.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@dataclass(frozen=True)
class Target:
    """Looks addresses and keys up when they are asked for, so that nothing is needed unused."""

    data: Path | None = None
    given_gateway: str | None = None
    given_notifier: str | None = None
    given_key: str | None = None
    given_kafka: str | None = None

    @cached_property
    def paths(self) -> StackPaths:
        """The stack that is meant."""
        return StackPaths(self.data.absolute()) if self.data is not None else find_stack()

    @cached_property
    def dev(self) -> DevJson | None:
        """How to reach it; None if it does not run."""
        return read_dev_json(self.paths)

    @property
    def gateway(self) -> str:
        """The gateway's address."""
        found = self.given_gateway or os.environ.get("PENSTOCK_CLIENT__GATEWAY")
        return found or self._of_stack("the gateway", "--gateway").gateway

    @property
    def notifier(self) -> str:
        """The notifier's address."""
        found = self.given_notifier or os.environ.get("PENSTOCK_CLIENT__NOTIFIER")
        return found or self._of_stack("the notifier", "--notifier").notifier

    @property
    def key(self) -> str:
        """The credential."""
        found = self.given_key or os.environ.get("PENSTOCK_CLIENT__API_KEY")
        return found or self._of_stack("an API key", "--key").api_key

    @property
    def names_kafka(self) -> bool:
        """Whether an option or the environment says where Kafka is."""
        return bool(self._bootstrap)

    @property
    def kafka(self) -> KafkaSettings:
        """The brokers, with `PENSTOCK_KAFKA__SECURITY` and `PENSTOCK_KAFKA__REPLICATION`."""
        if not self._bootstrap:
            return KafkaSettings(bootstrap=self._of_stack("Kafka", "--kafka").kafka)
        given = _variables("KAFKA", ("security", "replication"))
        return _checked(KafkaSettings, "KAFKA", {**given, "bootstrap": self._bootstrap})

    @property
    def _bootstrap(self) -> str | None:
        return self.given_kafka or os.environ.get("PENSTOCK_KAFKA__BOOTSTRAP")

    @property
    def redis(self) -> RedisSettings:
        """The job table."""
        url = os.environ.get("PENSTOCK_REDIS__URL")
        url = url or self._of_stack("Redis", "$PENSTOCK_REDIS__URL").redis
        return _checked(RedisSettings, "REDIS", {"url": url})

    @property
    def id_secret(self) -> bytes:
        """The deployment's id secret."""
        found = os.environ.get("PENSTOCK_AUTH__ID_SECRET")
        secret = found or self._of_stack("the id secret", "$PENSTOCK_AUTH__ID_SECRET").id_secret
        return secret.encode()

    @property
    def webhooks(self) -> WebhookSettings:
        """Which addresses may be webhook endpoints: as the services read it, else the stack's."""
        found = _variables("WEBHOOKS", WebhookSettings.model_fields)
        if not found and "PENSTOCK_KAFKA__BOOTSTRAP" not in os.environ and self.dev is not None:
            found = {"allow_loopback": True}
        return _checked(WebhookSettings, "WEBHOOKS", found)

    @property
    def verify_producers(self) -> bool:
        """Whether unsigned events are refused."""
        found = os.environ.get("PENSTOCK_AUTH__VERIFY_PRODUCERS")
        if found is not None:
            return found.lower() not in ("false", "0", "no", "off")
        return self.dev.options.verify_producers if self.dev is not None else True

    @property
    def tasks(self) -> TaskCatalog:
        """The task types."""
        found = os.environ.get("PENSTOCK_TASKS_FILE")
        if found is not None:
            return load_tasks(Path(found))
        return load_tasks(self.dev.options.tasks if self.dev is not None else None)

    def _of_stack(self, what: str, option: str) -> DevJson:
        if self.dev is None:
            raise NoStack(
                f"no stack runs in {self.paths.root} and nothing says where {what} is; "
                f"start one with `penstock dev up`, or give {option}"
            )
        return self.dev


G = TypeVar("G", bound=Group)


def _variables(group: str, members: Iterable[str]) -> dict[str, Any]:
    """The members of a settings group that the environment gives; lists and maps are JSON."""
    return {
        member: _read(name, text)
        for member in members
        if (text := os.environ.get(name := f"PENSTOCK_{group}__{member.upper()}")) is not None
    }


def _read(name: str, text: str) -> Any:
    if not text.startswith(("[", "{")):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WrongUse(f"{name} is no JSON ({error}); correct it, or unset it") from error


def _checked(kind: type[G], group: str, members: Mapping[str, Any]) -> G:
    try:
        return kind.model_validate(members)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        name = "__".join((f"PENSTOCK_{group}", *map(str, found["loc"]))).upper()
        said = found["msg"].removeprefix("Value error, ")
        fix = "" if "; " in said else "; correct it: lists and maps are written as JSON"
        raise WrongUse(f"{name}: {said}{fix}") from error
