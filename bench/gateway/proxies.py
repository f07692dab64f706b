"""The sides of the streaming row: ours, its peers, the floor, and the provider itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from penstock.dev.ports import PortPicker

from bench.environments import node_environment, python_environment
from bench.gateway.processes import server
from bench.stack import MODEL, Stack, stack_on

__all__ = ["PROXIES", "Place", "Proxy", "provider_file", "service_trees", "store_trees"]

_HERE = Path(__file__).parent
PEERS = _HERE / "peers"
ARMS = _HERE / "arms"
_STORES = ("kafka", "redis")
_KEY = "sk-" + "0123456789abcdef" * 4
"""LiteLLM starts with a key only, and only with one of this length."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an arm may write, and the provider that it shall call."""

    folder: Path
    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A running side. `own` and `stores` are process trees by name."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, int] = field(default_factory=dict)
    stores: Mapping[str, int] = field(default_factory=dict)


def service_trees(stack: Stack) -> dict[str, int]:
    """Our own processes."""
    return {name: pid for name, pid in stack.pids().items() if not name.startswith(_STORES)}


def store_trees(stack: Stack) -> dict[str, int]:
    """Kafka and Redis."""
    return {name: pid for name, pid in stack.pids().items() if name.startswith(_STORES)}


def provider_file(
    folder: Path, base_url: str, *, upstream: str = MODEL, idle_timeout_s: int = 30
) -> Path:
    """A providers file whose one model never waits for a free call."""
    path = folder / "providers.yaml"
    path.write_text(
        f"providers:\n  fake:\n    base_url: {base_url}\n    max_concurrency: 4096\n"
        f"    idle_timeout: {idle_timeout_s}\n"
        f'models:\n  {MODEL}: {{provider: fake, upstream: "{upstream}"}}\n'
        f"default_model: {MODEL}\n"
    )
    return path


@contextmanager
def _penstock(place: Place) -> Iterator[Proxy]:
    """The whole embedded stack but the embedder, one process of each service."""
    with stack_on(
        place.folder / "stack",
        provider_file(place.folder, place.provider),
        replicas="embedder=0",
        env={"PENSTOCK_LLM_WORKER__MAX_IN_FLIGHT": "1024"},
    ) as stack:
        yield Proxy(
            url=f"{stack.gateway}/v1/chat/completions",
            headers={"authorization": f"Bearer {stack.api_key}"},
            own=service_trees(stack),
            stores=store_trees(stack),
        )


@contextmanager
def _litellm(place: Place) -> Iterator[Proxy]:
    """Without database, callbacks and telemetry; one worker, as its guide says for one pod."""
    port = PortPicker().pick()
    config = place.folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL}\n    litellm_params:\n"
        f"      {{model: openai/{MODEL}, api_base: '{place.provider}', api_key: none}}\n"
        "litellm_settings: {telemetry: false, drop_params: true, set_verbose: false}\n"
    )
    program = python_environment(PEERS / "litellm.txt").with_name("litellm")
    command = [str(program), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    with server(
        command,
        ready=f"http://127.0.0.1:{port}/health/liveliness",
        log=place.folder / "litellm.log",
        env={
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MASTER_KEY": _KEY,
        },
    ) as pid:
        yield Proxy(
            url=f"http://127.0.0.1:{port}/v1/chat/completions",
            headers={"authorization": f"Bearer {_KEY}"},
            own={"litellm": pid},
        )


@contextmanager
def _portkey(place: Place) -> Iterator[Proxy]:
    """The open-source gateway; the provider is named by headers, as its guide says."""
    port = PortPicker().pick()
    folder = node_environment(PEERS / "node")
    program = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    command = ["node", str(program), f"--port={port}", "--headless"]
    with server(
        command,
        ready=f"http://127.0.0.1:{port}/",
        log=place.folder / "portkey.log",
        env={"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
    ) as pid:
        yield Proxy(
            url=f"http://127.0.0.1:{port}/v1/chat/completions",
            headers={
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": place.provider,
                "authorization": "Bearer none",
            },
            own={"portkey": pid},
        )


@contextmanager
def _floor(place: Place) -> Iterator[Proxy]:
    port = PortPicker().pick()
    python = python_environment(PEERS / "fastapi.txt")
    command = [str(python), str(ARMS / "fastapi_passthrough.py"), str(port), place.provider]
    with server(
        command, ready=f"http://127.0.0.1:{port}/healthz", log=place.folder / "floor.log"
    ) as pid:
        yield Proxy(url=f"http://127.0.0.1:{port}/v1/chat/completions", own={"floor": pid})


@contextmanager
def _direct(place: Place) -> Iterator[Proxy]:
    """No proxy at all: what the provider and the client take for themselves."""
    yield Proxy(url=f"{place.provider}/chat/completions")


PROXIES: Mapping[str, Callable[[Place], AbstractContextManager[Proxy]]] = {
    "penstock": _penstock,
    "litellm": _litellm,
    "portkey": _portkey,
    "fastapi-aiohttp": _floor,
    "fastapi-aiohttp again": _floor,
    "direct": _direct,
}
"""The floor twice: its ratio to itself tells how far the figures of this run can be trusted."""
