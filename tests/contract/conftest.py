"""What contract tests share."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest

CHECK = Path(__file__).parents[2] / "schemas" / "asyncapi-check"


@pytest.fixture(scope="session")
def asyncapi_parser() -> Path:
    """The program that validates AsyncAPI documents; its package is installed on first use."""
    if which("npm") is None:
        pytest.fail("npm is not on PATH; install Node.js 18 or newer, the AsyncAPI parser needs it")
    if not (CHECK / "node_modules" / "@asyncapi" / "parser").exists():
        subprocess.run(["npm", "ci", "--silent"], cwd=CHECK, check=True, timeout=300)  # noqa: S607 - npm of the PATH
    return CHECK / "check.mjs"
