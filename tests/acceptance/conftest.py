"""Whole stacks for acceptance tests: real processes, started as `penstock dev up` starts them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from penstock.dev.endpoints import DevJson, read_dev_json
from penstock.dev.launch import take_down
from penstock.dev.paths import StackPaths

__all__ = ["Stack", "StackStarter", "stack", "start_at", "start_stack"]

_UP_TIMEOUT_S = 300


class Stack:
    """A running stack in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.paths = StackPaths(root)

    @property
    def dev(self) -> DevJson:
        """Addresses and keys."""
        dev = read_dev_json(self.paths)
        assert dev is not None, "the stack is not ready"
        return dev

    def pid(self, name: str, number: int = 1) -> int:
        """The present process of a replica, e.g. `llm-worker`, 2."""
        return int((self.paths.run / f"{name}-{number}.pid").read_text())

    def log(self, name: str, number: int = 1) -> str:
        """What a replica has logged."""
        return (self.paths.logs / f"{name}-{number}.log").read_text(errors="replace")

    def cli(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `penstock` against this stack."""
        return subprocess.run(
            [sys.executable, "-m", "penstock", *arguments, "--data", str(self.paths.root)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


StackStarter = Callable[..., Stack]


def start_at(root: Path, options: Mapping[str, object]) -> Stack:
    """Start a stack in a folder; the caller takes it down."""
    arguments = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(flag)
        elif value is not None and value is not False:
            arguments += [flag, str(value)]
    found = Stack(root)
    done = found.cli("dev", "up", *arguments, timeout_s=_UP_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StackStarter]:
    """Starts stacks with options of `penstock dev up`; all are taken down after the test.

    `start_stack(replicas="llm-worker=3", providers=FILE, tasks=FILE, verify_producers=True)`
    """
    with contextlib.ExitStack() as cleanup:
        count = 0

        def start(**options: object) -> Stack:
            nonlocal count
            count += 1
            root = tmp_path / f"stack-{count}"
            cleanup.callback(take_down, StackPaths(root))
            return start_at(root, options)

        yield start


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack with the local model for the whole session; do not stop its processes."""
    root = tmp_path_factory.mktemp("stack")
    try:
        yield start_at(root, {})
    finally:
        take_down(StackPaths(root))
