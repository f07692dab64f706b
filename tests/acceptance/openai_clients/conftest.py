"""Clients of others, in an environment of their own: they know nothing of Penstock."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack

__all__ = ["Client", "client"]

_REPOSITORY = Path(__file__).parents[3]
_UV = Path(sys.executable).parent / "uv"

Client = Callable[..., str]


@pytest.fixture(scope="session")
def clients_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment with the clients at their pinned versions."""
    environment = tmp_path_factory.mktemp("clients")
    locked = _REPOSITORY / "requirements" / "clients.txt"
    subprocess.run([_UV, "venv", "-q", environment], check=True, timeout=60)
    subprocess.run(
        [_UV, "pip", "install", "-q", "--python", environment, "--require-hashes", "-r", locked],
        check=True,
        timeout=300,
    )
    return environment / "bin"


@pytest.fixture
def client(clients_bin: Path, stack: Stack, tmp_path: Path) -> Client:
    """Runs a program of that environment against the stack and gives back what it printed."""

    def run(program: str, *arguments: str, **variables: str) -> str:
        inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        done = subprocess.run(
            [clients_bin / program, *arguments],
            env={
                **inherited,
                "HOME": str(tmp_path),
                "OPENAI_BASE_URL": f"{stack.dev.gateway}/v1",
                "OPENAI_API_KEY": stack.dev.api_key,
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run
