"""What a command talks to: an option, else the environment, else the stack of this folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import orjson
import typer
from penstock_kit.settings import KafkaSettings, RedisSettings
from penstock_kit.tasks import TaskCatalog, load_tasks
from penstock_kit.webhooks.settings import WebhookSettings

from penstock.dev.endpoints import DevJson, read_dev_json
from penstock.dev.paths import StackPaths, find_stack
from penstock.errors import NoStack

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
    typer.Option("--notifier", help="ws(s)://host:port; default $PENSTOCK_CLIENT__NOTIFIER."),
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
    def kafka(self) -> KafkaSettings:
        """The brokers, with the security settings of `PENSTOCK_KAFKA__SECURITY`."""
        bootstrap = self.given_kafka or os.environ.get("PENSTOCK_KAFKA__BOOTSTRAP")
        if bootstrap is None:
            return KafkaSettings(bootstrap=self._of_stack("Kafka", "--kafka").kafka)
        security = orjson.loads(os.environ.get("PENSTOCK_KAFKA__SECURITY", "{}"))
        return KafkaSettings(bootstrap=bootstrap, security=security)

    @property
    def redis(self) -> RedisSettings:
        """The job table."""
        url = os.environ.get("PENSTOCK_REDIS__URL")
        return RedisSettings.model_validate(
            {"url": url or self._of_stack("Redis", "$PENSTOCK_REDIS__URL").redis}
        )

    @property
    def id_secret(self) -> bytes:
        """The deployment's id secret."""
        found = os.environ.get("PENSTOCK_AUTH__ID_SECRET")
        secret = found or self._of_stack("the id secret", "$PENSTOCK_AUTH__ID_SECRET").id_secret
        return secret.encode()

    @property
    def webhooks(self) -> WebhookSettings:
        """Which addresses may be webhook endpoints: as the services read it, else the stack's."""
        found = {
            name: orjson.loads(text) if text[:1] in "[{" else text
            for name in WebhookSettings.model_fields
            if (text := os.environ.get(f"PENSTOCK_WEBHOOKS__{name.upper()}")) is not None
        }
        if not found and "PENSTOCK_KAFKA__BOOTSTRAP" not in os.environ and self.dev is not None:
            found = {"allow_loopback": True}
        return WebhookSettings.model_validate(found)

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
