"""Brings a stack up and takes it down, from the outside: what `penstock dev` does."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from penstock.dev.endpoints import DevJson, read_dev_json
from penstock.dev.errors import NotReady, StackRunning
from penstock.dev.options import StackOptions
from penstock.dev.paths import StackPaths
from penstock.dev.process import last_lines, signal_group
from penstock.dev.state import Phase, StackState, is_supervised, read_state

__all__ = ["RunningStack", "attach", "bring_up", "take_down"]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_POLL_S = 0.1
_UP_TIMEOUT_S = 300.0
_DOWN_TIMEOUT_S = 7.0
"""The supervisor needs five seconds at most; later it is killed, and its processes with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStack:
    """A stack that is ready. `is_new`: this call started it."""

    dev: DevJson
    is_new: bool


def attach(options: StackOptions) -> RunningStack | None:
    """The stack that runs already on the folder, if it is the one that is wanted.

    Raises:
        StackRunning: one runs, but with other options, or it is not ready yet.
    """
    paths = StackPaths(options.root)
    if not is_supervised(paths):
        return None
    dev = read_dev_json(paths)
    if dev is None:
        raise StackRunning(
            f"a stack is starting or stopping in {paths.root}",
            hint="wait a moment, or end it with `penstock dev down`",
        )
    if dev.options != options:
        raise StackRunning(
            f"a stack runs already in {paths.root}, with other options",
            hint="stop it with `penstock dev down`, or use another folder with --data",
        )
    return RunningStack(dev=dev, is_new=False)


def bring_up(
    options: StackOptions, *, tied: bool, report: Callable[[StackState], None]
) -> RunningStack:
    """Start the supervisor and return when the stack is ready.

    `tied`: the stack is taken down when this process ends, however it ends (Linux). `report` gets
    every state until then.

    Raises:
        StackRunning: as `attach`.
        NotReady: the stack failed to start; nothing of it is left.
    """
    running = attach(options)
    if running is not None:
        return running
    paths = StackPaths(options.root)
    paths.logs.mkdir(parents=True, exist_ok=True)
    supervisor = _spawn_supervisor(options, paths, tied=tied)
    try:
        return RunningStack(dev=_wait_until_ready(supervisor, paths, report), is_new=True)
    except BaseException:
        _end(supervisor.pid, paths)
        supervisor.wait()
        raise


def take_down(paths: StackPaths) -> bool:
    """End the stack on the folder; False if there was none."""
    if not is_supervised(paths):
        paths.dev_json.unlink(missing_ok=True)
        return False
    state = read_state(paths)
    if state is not None:
        _end(state.supervisor, paths)
    return True


def _spawn_supervisor(
    options: StackOptions, paths: StackPaths, *, tied: bool
) -> subprocess.Popen[bytes]:
    def tie_to_parent() -> None:
        if tied and _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    with (paths.logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-m", "penstock.dev", options.model_dump_json()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=tie_to_parent,  # noqa: PLW1509 - one system call, takes no lock
        )


def _wait_until_ready(
    supervisor: subprocess.Popen[bytes], paths: StackPaths, report: Callable[[StackState], None]
) -> DevJson:
    deadline = time.monotonic() + _UP_TIMEOUT_S
    while time.monotonic() < deadline:
        ended = supervisor.poll() is not None
        state = read_state(paths)
        if state is not None and state.supervisor == supervisor.pid:
            report(state)
            dev = read_dev_json(paths)
            if state.phase is Phase.READY and dev is not None:
                return dev
            if state.phase is Phase.FAILED:
                what, separator, fix = state.message.rpartition("; ")
                raise NotReady(what if separator else fix, hint=fix if separator else "try again")
        if ended:
            raise NotReady(
                f"the supervisor ended with status {supervisor.returncode}:\n"
                f"{last_lines(paths.logs / 'supervisor.log')}\n",
                hint=f"read {paths.logs / 'supervisor.log'}",
            )
        time.sleep(_POLL_S)
    raise NotReady(
        f"the stack was not ready within {_UP_TIMEOUT_S:.0f} s",
        hint=f"read the logs in {paths.logs}",
    )


def _end(supervisor: int, paths: StackPaths) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(supervisor, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_TIMEOUT_S
    while is_supervised(paths) and time.monotonic() < deadline:
        time.sleep(_POLL_S / 2)
    if is_supervised(paths):
        signal_group(supervisor, signal.SIGKILL)
    paths.dev_json.unlink(missing_ok=True)
