"""Starts the servers of peers, each as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NotStarted", "answers", "last_lines", "process", "server"]

_PATIENCE_S = 90


class NotStarted(Exception):
    """A server did not come up; the message has its last lines."""


@contextmanager
def process(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """A running program; ended with all its children."""
    with log.open("wb") as output:
        running = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield running
    finally:
        _end(running)
        if running.stdin is not None:
            running.stdin.close()


@contextmanager
def server(
    command: Sequence[str],
    *,
    ready: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[int]:
    """The process id of a server, once `ready` answers anything over HTTP.

    Raises:
        NotStarted: it ended, or did not answer in time.
    """
    with process(command, log=log, env=env, cwd=cwd) as running:
        deadline = time.monotonic() + _PATIENCE_S
        while not answers(ready):
            if running.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"{command[0]} did not come up: {last_lines(log)}")
            time.sleep(0.1)
        yield running.pid


def last_lines(log: Path) -> str:
    """The end of what a program wrote."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])


def answers(url: str) -> bool:
    """Whether a server is there, whatever it says."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    process.wait(5)
