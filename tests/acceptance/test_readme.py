"""The README's code blocks do what they say, on a running stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"<!-- test: (\w+) -->\n```\w+\n(.*?)```", README, re.DOTALL)
PROOFS = [
    '"status": ?"completed"',
    "runs on without us: resp_",
    "finish reason: (stop|length)",
    "event completed",
]


def test_readme_is_short_and_has_four_calls() -> None:
    assert README.count("\n") <= 150
    assert [kind for kind, _ in BLOCKS] == ["shell", "python", "python", "python"]


def test_readme_names_the_test_command_that_ci_runs() -> None:
    (command,) = re.findall(r"<!-- ci -->\n```sh\n(.*?) +#", README)

    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("number", range(len(PROOFS)))
def test_readme_block_runs(number: int, stack: Stack, tmp_path: Path) -> None:
    kind, code = BLOCKS[number]
    (tmp_path / ".penstock").symlink_to(stack.paths.root)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    command = [sys.executable, "-c", code] if kind == "python" else ["bash", "-euc", code]

    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert re.search(PROOFS[number], done.stdout)
