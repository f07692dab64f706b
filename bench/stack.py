"""A stack of one's own for a benchmark: the embedded stack on the fake provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.provider_process import fake_provider

ROOT = Path(__file__).parents[1]
MODEL = "fake"

__all__ = ["MODEL", "ROOT", "Stack", "running_stack", "stack_on"]


@dataclass(frozen=True, slots=True)
class Stack:
    """Where everything listens, and how long the start took."""

    gateway: str
    notifier: str
    api_key: str
    folder: Path
    up_s: float
    kafka: str
    redis: str

    def pid(self, name: str) -> int:
        """The process id of the first replica of a service."""
        return self.pids()[f"{name}-1"]

    def pids(self) -> dict[str, int]:
        """Every process by `<name>-<number>`, the servers `kafka-1` and `redis-1` included."""
        return {file.stem: int(file.read_text()) for file in (self.folder / "run").glob("*.pid")}


@contextmanager
def running_stack(
    folder: Path, *, script: str = "ttft_ms=20;rate=100;tokens=128"
) -> Iterator[Stack]:
    """Start the fake provider and a stack in `folder`; stop both at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        fake_provider(folder, script=script) as provider,
        stack_on(folder, provider.providers) as stack,
    ):
        yield stack


@contextmanager
def stack_on(
    folder: Path,
    providers: Path,
    *,
    replicas: str = "",
    tasks: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """A stack on the providers of a file; stopped at the end.

    `replicas` is that of `penstock dev up`; `env` is given to every service.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--data", str(folder), "--providers", str(providers), "--replicas", replicas]
    if tasks is not None:
        options += ["--tasks", str(tasks)]
    try:
        began = time.monotonic()
        _penstock("dev", "up", *options, env=env)
        up_s = time.monotonic() - began
        found = json.loads((folder / "dev.json").read_text())
        yield Stack(
            gateway=found["gateway"],
            notifier=found["notifier"],
            api_key=found["api_key"],
            folder=folder,
            up_s=up_s,
            kafka=found["kafka"],
            redis=found["redis"],
        )
    finally:
        _penstock("dev", "down", "--data", str(folder))


def _penstock(*arguments: str, env: Mapping[str, str] | None = None) -> None:
    subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        check=True,
        cwd=ROOT,
        timeout=300,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
    )
