"""One child process: what to run, how to know that it is ready, how to end it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock.dev.errors import NotReady

__all__ = ["ProcessSpec", "end_group", "last_lines", "run_process", "spawn", "wait_until_ready"]

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that the kernel sends to a child when its parent dies."""
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PROBE_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process to run.

    Attributes:
        is_ready: cheap probe, called again and again from a thread; may block up to a second.
        env: added to the environment of this process.
        stop_timeout_s: time between SIGTERM and SIGKILL.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    is_ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    start_timeout_s: float = 120.0
    stop_timeout_s: float = 10.0


def spawn(spec: ProcessSpec) -> subprocess.Popen[bytes]:
    """Start the process in its own group, its output appended to the log.

    On Linux the kernel kills it when the calling THREAD ends, so call this from a thread that lives
    as long as the stack. Its own session keeps signals of the terminal away from it.
    """
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    parent = os.getpid()

    def tie_to_parent() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # the parent died between fork and prctl
                os._exit(1)

    with spec.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            spec.argv,
            env={**os.environ, **spec.env},
            cwd=spec.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=tie_to_parent,  # noqa: PLW1509 - calls two system calls, takes no lock
        )


def wait_until_ready(process: subprocess.Popen[bytes], spec: ProcessSpec) -> None:
    """Return when the probe says so.

    Raises:
        NotReady: the process died, or the time is up; with the last lines of its log.
    """
    deadline = time.monotonic() + spec.start_timeout_s
    while not spec.is_ready():
        status = process.poll()
        if status is not None:
            raise NotReady(
                f"{spec.name} ended with status {status} while starting:\n{last_lines(spec.log)}\n",
                hint=f"read {spec.log}",
            )
        if time.monotonic() > deadline:
            raise NotReady(
                f"{spec.name} was not ready within {spec.start_timeout_s:.0f} s:\n"
                f"{last_lines(spec.log)}\n",
                hint=f"read {spec.log}",
            )
        time.sleep(_PROBE_PAUSE_S)


def run_process(spec: ProcessSpec) -> subprocess.Popen[bytes]:
    """Start and wait until ready; nothing is left behind when that fails.

    Raises:
        NotReady: as `wait_until_ready`.
    """
    process = spawn(spec)
    try:
        wait_until_ready(process, spec)
    except BaseException:
        end_group(process, timeout_s=0)
        raise
    return process


def end_group(process: subprocess.Popen[bytes], *, timeout_s: float) -> None:
    """SIGTERM, at most `timeout_s` of patience, then SIGKILL for the whole group; works twice."""
    if process.poll() is None and timeout_s > 0:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal every process of the group that `pid` leads; a group that is gone is no error."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        # PermissionError: macOS answers so for a group of zombies.
        return


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, for error messages."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return "(no output)"
    return "\n".join(f"    {line}" for line in lines) or "    (no output)"
