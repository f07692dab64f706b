"""Command and environment of every service in the rig."""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.dev.model_server import answers_ok
from penstock.dev.process import ProcessSpec

from tests.promises.stack.layout import Layout

__all__ = ["ROOT", "service_spec", "write_files"]

ROOT = Path(__file__).parents[3]
_HOST = "127.0.0.1"

_TASKS = """\
tasks:
  chat:
    kind: chat
    timeout: 60
    retry: {attempts: 4, base: 1, factor: 2, cap: 8}
"""

_PROVIDERS = """\
providers:
  fake:
    base_url: http://127.0.0.1:{port}/v1
    max_concurrency: 512
    connect_timeout: 2
    first_token_timeout: 6
    idle_timeout: {idle_s}
    total_timeout: 60
models:
  fake: {{provider: fake}}
default_model: fake
"""


def write_files(layout: Layout) -> None:
    """tasks.yaml and providers.yaml, with retries and time-outs in seconds instead of minutes."""
    layout.data.mkdir(parents=True, exist_ok=True)
    (layout.data / "tasks.yaml").write_text(_TASKS)
    (layout.data / "providers.yaml").write_text(
        _PROVIDERS.format(port=layout.ports.provider, idle_s=layout.idle_s)
    )


def service_spec(layout: Layout, service: str, label: str, *, id_secret: str) -> ProcessSpec:
    """How to run a replica; ready when it says so on its admin port."""
    module = service.replace("-", "_")
    admin = layout.ports.admin[label]
    return ProcessSpec(
        name=service,
        argv=(sys.executable, "-m", "tests.promises.launched", module),
        cwd=ROOT,
        env={
            **_shared(layout, label, id_secret),
            **_own(layout, service),
            **_rig(layout, label),
            **layout.env.get(service, {}),
            **layout.env.get(label, {}),
            "PENSTOCK_ADMIN__PORT": str(admin),
            "PENSTOCK_INSTANCE": label,
        },
        log=layout.logs / f"{label}.log",
        is_ready=lambda: answers_ok(f"http://{_HOST}:{admin}/readyz"),
    )


def _shared(layout: Layout, label: str, id_secret: str) -> dict[str, str]:
    ports = layout.ports
    kafka = ports.victim if label == layout.victim else ports.kafka
    return {
        "PENSTOCK_KAFKA__BOOTSTRAP": f"{_HOST}:{kafka}",
        "PENSTOCK_KAFKA__SESSION_TIMEOUT": "6",
        "PENSTOCK_KAFKA__MAX_POLL_INTERVAL": "10",
        "PENSTOCK_REDIS__URL": f"redis://{_HOST}:{ports.redis}/0",
        "PENSTOCK_BLOBS__URL": (layout.data / "blobs").as_uri(),
        "PENSTOCK_AUTH__ID_SECRET": id_secret,
        "PENSTOCK_AUTH__VERIFY_PRODUCERS": "false",
        "PENSTOCK_TASKS_FILE": str(layout.data / "tasks.yaml"),
    }


def _own(layout: Layout, service: str) -> dict[str, str]:
    ports, providers = layout.ports, str(layout.data / "providers.yaml")
    own = {
        "gateway": {
            "PENSTOCK_GATEWAY__PORT": str(ports.gateway),
            "PENSTOCK_GATEWAY__SOCKET_URL": f"ws://{_HOST}:{ports.notifier}/v1/socket",
            "PENSTOCK_PROVIDERS_FILE": providers,
        },
        "notifier": {"PENSTOCK_NOTIFIER__PORT": str(ports.notifier)},
        "llm-worker": {
            "PENSTOCK_PROVIDERS_FILE": providers,
            "PENSTOCK_LLM_WORKER__MAX_IN_FLIGHT": "64",
        },
        # An endpoint instead of the model in the process: vectors are not what is proven here.
        "embedder": {
            "PENSTOCK_EMBEDDER__QDRANT_PATH": str(layout.data / "qdrant"),
            "PENSTOCK_EMBEDDER__MODEL__KIND": "openai",
            "PENSTOCK_EMBEDDER__MODEL__NAME": "fake-embed",
            "PENSTOCK_EMBEDDER__MODEL__BASE_URL": f"http://{_HOST}:{ports.provider}/v1",
            "PENSTOCK_EMBEDDER__MODEL__API_KEY": "none",
        },
        "recorder": {},
    }
    return own[service]


def _rig(layout: Layout, label: str) -> dict[str, str]:
    """What `launched` reads: none of it is known to the product."""
    env = {"RIG_CRASHES": str(layout.evidence / "crashes.jsonl"), "RIG_LABEL": label}
    if layout.sabotage:
        env["RIG_SABOTAGE"] = ",".join(layout.sabotage)
    if label in layout.skew_s:
        env["RIG_SKEW_S"] = str(layout.skew_s[label])
    return env
