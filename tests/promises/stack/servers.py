"""Broker, Redis, provider and proxy: what the services stand on."""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.dev.kafka import KafkaNode, kafka_spec
from penstock.dev.ports import accepts_connections
from penstock.dev.process import ProcessSpec
from penstock.dev.redis import redis_spec

from tests.promises.stack.layout import Layout
from tests.promises.stack.services import ROOT

__all__ = ["broker_spec", "provider_spec", "proxy_spec", "redis_server_spec"]

_HOST = "127.0.0.1"


def broker_spec(layout: Layout) -> ProcessSpec:
    """The broker with three doors: direct for the rig, and two that it advertises as the proxy's.

    A client that comes through the proxy is told to stay there, else cuts would not reach it.
    """
    ports = layout.ports
    node = KafkaNode(
        data=layout.data / "kafka",
        port=ports.kafka_direct,
        controller_port=ports.kafka_controller,
        heap="400m",
    )
    spec = kafka_spec(node, log=layout.logs / "kafka.log")
    settings = node.data / "server.properties"
    doors = (
        ("DIRECT", ports.kafka_direct, ports.kafka_direct),
        ("SHARED", ports.kafka_shared, ports.kafka),
        ("VICTIM", ports.kafka_victim, ports.victim),
    )
    listeners = ",".join(f"{name}://{_HOST}:{port}" for name, port, _ in doors)
    changes = {
        "listeners": f"{listeners},CONTROLLER://{_HOST}:{ports.kafka_controller}",
        "advertised.listeners": ",".join(f"{name}://{_HOST}:{told}" for name, _, told in doors),
        "listener.security.protocol.map": ",".join(
            f"{name}:PLAINTEXT" for name in ("DIRECT", "SHARED", "VICTIM", "CONTROLLER")
        ),
        "inter.broker.listener.name": "DIRECT",
    }
    settings.write_text(_changed(settings.read_text(), changes))
    return spec


def redis_server_spec(layout: Layout) -> ProcessSpec:
    """Redis with an append-only file; the rig decides when its folder is emptied."""
    data = layout.data / "redis"
    return redis_spec(data=data, port=layout.ports.redis_direct, log=layout.logs / "redis.log")


def provider_spec(layout: Layout) -> ProcessSpec:
    """The fake provider; its log of calls is evidence."""
    log: Path = layout.evidence / "provider.jsonl"
    port = layout.ports.provider_direct
    command = (sys.executable, "-m", "tests.support.fake_provider", "--port", str(port))
    return ProcessSpec(
        name="provider",
        argv=(*command, "--log", str(log), "--script", layout.script),
        cwd=ROOT,
        log=layout.logs / "provider.log",
        is_ready=lambda: accepts_connections(port),
    )


def proxy_spec(layout: Layout) -> ProcessSpec:
    """The proxy in front of broker, Redis and provider."""
    ports = layout.ports
    routes = (
        f"broker:{ports.kafka}:{ports.kafka_shared}",
        f"victim:{ports.victim}:{ports.kafka_victim}",
        f"redis:{ports.redis}:{ports.redis_direct}",
        f"provider:{ports.provider}:{ports.provider_direct}",
    )
    return ProcessSpec(
        name="proxy",
        argv=(sys.executable, "-m", "tests.promises.proxy", str(ports.control), *routes),
        cwd=ROOT,
        log=layout.logs / "proxy.log",
        is_ready=lambda: accepts_connections(ports.control),
    )


def _changed(text: str, changes: dict[str, str]) -> str:
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in changes]
    return "\n".join([*lines, *(f"{name}={value}" for name, value in changes.items())]) + "\n"
