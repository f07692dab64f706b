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

__all__ = ["NotStarted", "server"]

_PATIENCE_S = 90


class NotStarted(Exception):
    """A server did not come up; the message has its last lines."""


@contextmanager
def server(
    command: Sequence[str],
    *,
    ready: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[int]:
    """Its process id, once `ready` answers anything over HTTP; ended with all its children.

    Raises:
        NotStarted: it ended, or did not answer in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                lines = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
                raise NotStarted(f"{command[0]} did not come up: {lines}")
            time.sleep(0.1)
        yield process.pid
    finally:
        _end(process)


def _answers(url: str) -> bool:
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
