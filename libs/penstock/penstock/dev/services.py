"""How each service is started in a development stack: command, environment, readiness."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.dev.errors import MissingProgram
from penstock.dev.keeper import Unit
from penstock.dev.model_server import CONTEXT_TOKENS, MODEL_NAME, SLOTS, answers_ok
from penstock.dev.options import SERVICES, StackOptions
from penstock.dev.paths import StackPaths
from penstock.dev.ports import LOOPBACK, PortPicker
from penstock.dev.process import ProcessSpec

__all__ = ["StackPorts", "local_providers", "service_units"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPorts:
    """Where everything listens."""

    gateway: int
    notifier: int
    kafka: int
    kafka_controller: int
    redis: int
    model_server: int
    admin: Mapping[str, int]
    """By `<service>-<n>`."""

    @classmethod
    def pick(cls, options: StackOptions, picker: PortPicker) -> StackPorts:
        """The usual ports where they are free, else others."""
        return cls(
            gateway=picker.pick(8080),
            notifier=picker.pick(8081),
            kafka=picker.pick(9092),
            kafka_controller=picker.pick(9093),
            redis=picker.pick(6379),
            model_server=picker.pick(8090),
            admin={
                f"{service}-{number}": picker.pick()
                for service in SERVICES
                for number in range(1, options.count(service) + 1)
            },
        )


def service_units(
    options: StackOptions,
    *,
    paths: StackPaths,
    data: Path,
    ports: StackPorts,
    id_secret: str,
    providers: Path,
) -> list[Unit]:
    """Every replica of every service."""
    shared = _shared_environment(options, data=data, ports=ports, id_secret=id_secret)
    own = _own_environment(options, data=data, ports=ports, providers=providers)
    return [
        _unit(service, number, env={**shared, **own[service]}, paths=paths, ports=ports)
        for service in SERVICES
        for number in range(1, options.count(service) + 1)
    ]


def local_providers(path: Path, *, port: int) -> Path:
    """Write the providers file that names the model server of the stack."""
    path.write_text(
        "# Written by `penstock dev`; use --providers FILE for others.\n"
        "providers:\n"
        "  local:\n"
        f"    base_url: http://{LOOPBACK}:{port}/v1\n"
        f"    max_concurrency: {SLOTS}\n"
        # Two cores may be busy with other things; the model itself answers within a second.
        "    first_token_timeout: 120\n"
        "    idle_timeout: 60\n"
        "models:\n"
        f"  {MODEL_NAME}: {{provider: local, upstream: {MODEL_NAME}, "
        f"context_tokens: {CONTEXT_TOKENS}}}\n"
        f"default_model: {MODEL_NAME}\n"
    )
    return path


def _unit(
    service: str, number: int, *, env: Mapping[str, str], paths: StackPaths, ports: StackPorts
) -> Unit:
    module = service.replace("-", "_")
    if importlib.util.find_spec(f"{module}.__main__") is None:
        raise MissingProgram(
            f"the service {service} is not in this environment", hint="run `make install`"
        )
    label = f"{service}-{number}"
    admin = ports.admin[label]
    return Unit(
        number=number,
        spec=ProcessSpec(
            name=service,
            argv=(sys.executable, "-m", module),
            env={**env, "PENSTOCK_ADMIN__PORT": str(admin), "PENSTOCK_INSTANCE": label},
            log=paths.logs / f"{label}.log",
            is_ready=lambda: answers_ok(f"http://{LOOPBACK}:{admin}/readyz"),
        ),
    )


def _shared_environment(
    options: StackOptions, *, data: Path, ports: StackPorts, id_secret: str
) -> dict[str, str]:
    env = {
        "PENSTOCK_KAFKA__BOOTSTRAP": f"{LOOPBACK}:{ports.kafka}",
        "PENSTOCK_REDIS__URL": f"redis://{LOOPBACK}:{ports.redis}/0",
        "PENSTOCK_BLOBS__URL": (data / "blobs").as_uri(),
        "PENSTOCK_AUTH__ID_SECRET": id_secret,
        "PENSTOCK_AUTH__VERIFY_PRODUCERS": "true" if options.verify_producers else "false",
        "PENSTOCK_WEBHOOKS__ALLOW_LOOPBACK": "true",
    }
    if options.tasks is not None:
        env["PENSTOCK_TASKS_FILE"] = str(options.tasks)
    return env


def _own_environment(
    options: StackOptions, *, data: Path, ports: StackPorts, providers: Path
) -> dict[str, dict[str, str]]:
    socket = f"ws://{LOOPBACK}:{ports.notifier}/v1/socket"
    qdrant = (
        {"PENSTOCK_EMBEDDER__QDRANT_URL": options.qdrant}
        if options.qdrant is not None
        else {"PENSTOCK_EMBEDDER__QDRANT_PATH": str(data / "qdrant")}
    )
    return {
        "gateway": {
            "PENSTOCK_GATEWAY__PORT": str(ports.gateway),
            "PENSTOCK_GATEWAY__SOCKET_URL": socket,
            "PENSTOCK_GATEWAY__GATEWAYS": str(max(1, options.count("gateway"))),
            "PENSTOCK_PROVIDERS_FILE": str(providers),
        },
        "notifier": {"PENSTOCK_NOTIFIER__PORT": str(ports.notifier)},
        "llm-worker": {"PENSTOCK_PROVIDERS_FILE": str(providers)},
        "embedder": qdrant,
        "recorder": {},
    }
