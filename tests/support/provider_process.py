"""The fake provider as a process of its own, with the providers file that points at it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ProviderProcess", "fake_provider"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class ProviderProcess:
    """Where it listens, its providers file, and its own log of calls."""

    base_url: str
    providers: Path
    log: Path

    def calls(self) -> list[dict[str, Any]]:
        """Every line of the call log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def fake_provider(folder: Path, *, script: str = "", port: int = 0) -> Iterator[ProviderProcess]:
    """Start it with default directives; the model is called `fake`.

    The same folder and port again: the same provider with other directives, its log goes on.
    """
    log, providers = folder / "provider.jsonl", folder / "providers.yaml"
    log.touch()
    command = [sys.executable, "-m", "tests.support.fake_provider", "--log", str(log)]
    process = subprocess.Popen(
        [*command, "--script", script, "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        base_url = process.stdout.readline().removeprefix("ready ").strip()
        providers.write_text(
            f"providers:\n  fake:\n    base_url: {base_url}\n"
            f"models:\n  fake: {{provider: fake, upstream: fake}}\ndefault_model: fake\n"
        )
        yield ProviderProcess(base_url, providers, log)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
