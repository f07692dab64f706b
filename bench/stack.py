"""A stack of one's own for a benchmark: the embedded stack on the fake provider."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.provider_process import fake_provider

ROOT = Path(__file__).parents[1]
MODEL = "fake"

__all__ = ["MODEL", "ROOT", "Stack", "running_stack"]


@dataclass(frozen=True, slots=True)
class Stack:
    """Where everything listens, and how long the start took."""

    gateway: str
    notifier: str
    api_key: str
    folder: Path
    up_s: float

    def pid(self, name: str) -> int:
        """The process id of the first replica of a service."""
        return int((self.folder / "run" / f"{name}-1.pid").read_text())


@contextmanager
def running_stack(
    folder: Path, *, script: str = "ttft_ms=20;rate=100;tokens=128"
) -> Iterator[Stack]:
    """Start the fake provider and a stack in `folder`; stop both at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with fake_provider(folder, script=script) as provider:
        try:
            began = time.monotonic()
            _penstock("dev", "up", "--data", str(folder), "--providers", str(provider.providers))
            up_s = time.monotonic() - began
            found = json.loads((folder / "dev.json").read_text())
            yield Stack(found["gateway"], found["notifier"], found["api_key"], folder, up_s)
        finally:
            _penstock("dev", "down", "--data", str(folder))


def _penstock(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "penstock", *arguments], check=True, cwd=ROOT, timeout=300
    )
