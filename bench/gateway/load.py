"""Runs a compiled load client and notes what the side under test used within its window."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.environments import go_program
from bench.gateway.usage import Moment, Usage, look, used_between

__all__ = ["Loaded", "LoadFailed", "client_program", "run_client", "run_load"]

_SOURCE = Path(__file__).parent / "go"


class LoadFailed(Exception):
    """The client could not do its work; the message is its own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the client counted, and what was used meanwhile."""

    result: Mapping[str, Any]
    usage: Usage


def client_program() -> Path:
    """The load client, built if need be."""
    return go_program(_SOURCE)


def run_load(
    command: str,
    order: Mapping[str, Any],
    *,
    trees: Mapping[str, int],
    on_ready: Callable[[], None] = lambda: None,
) -> Loaded:
    """Run one command of `go/main.go`; as `run_client`."""
    arguments = [str(client_program()), command, json.dumps(order)]
    return run_client(arguments, trees=trees, on_ready=on_ready)


def run_client(
    command: Sequence[str],
    *,
    trees: Mapping[str, int],
    env: Mapping[str, str] | None = None,
    on_ready: Callable[[], None] = lambda: None,
    timeout_s: float = 240,
) -> Loaded:
    """Run a client that prints `begin`, `end` and one line of JSON; `trees` are ids by name.

    Sockets say `ready` before, once all are open.

    The client's own processor time is in the usage as `client`.

    Raises:
        LoadFailed: it ended with an error or without a result.
    """
    moments: list[Moment] = []
    result: Mapping[str, Any] | None = None
    with subprocess.Popen(
        ["timeout", str(timeout_s), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    ) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        for line in client.stdout:
            if line.strip() in ("begin", "end"):
                moments.append(look({**trees, "client": client.pid}))
            elif line.strip() == "ready":
                on_ready()
            elif line.startswith("{"):
                result = json.loads(line)
        errors = client.stderr.read()
    if result is None or len(moments) != 2:
        raise LoadFailed(f"{command[0]} ended with {client.returncode}: {errors.strip()[-500:]}")
    for failure in result.get("failures") or []:
        print(f"  failed: {failure}", file=sys.stderr, flush=True)
    return Loaded(result, used_between(*moments))
