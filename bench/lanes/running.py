"""Starts an arm and waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from bench.lanes.peers import ARMS, Order
from bench.lanes.result import Result, read_result

__all__ = ["ArmFailed", "end_arm", "run_arm", "started_arm"]

_ARMS_FOLDER = Path(__file__).parent / "arms"


class ArmFailed(Exception):
    """An arm ended with an error or did not end; the message has its last lines."""


def run_arm(name: str, order: Order, *, timeout_s: float = 180) -> Result:
    """Run an arm to its end under a fresh group.

    Raises:
        ArmFailed: it did not finish its messages in time.
    """
    fresh = replace(order, group=f"{order.group}-{uuid4().hex[:8]}")
    fresh.out.unlink(missing_ok=True)
    with started_arm(name, fresh) as process:
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ArmFailed(f"{name} did not finish in {timeout_s:.0f} s") from None
    if not order.out.exists():
        raise ArmFailed(f"{name} ended with {process.returncode}: {_last_lines(order.out)}")
    return read_result(order.out)


@contextmanager
def started_arm(name: str, order: Order) -> Iterator[subprocess.Popen[bytes]]:
    """A running arm; killed at the end if it still runs. Its output goes beside its recording."""
    arm = ARMS[name]
    command = arm.command(replace(order, concurrency=min(order.concurrency, arm.concurrency)))
    with _log_of(order.out).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(_ARMS_FOLDER)},
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def end_arm(process: subprocess.Popen[bytes], *, timeout_s: float = 30) -> int:
    """SIGTERM, then the exit status."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout_s)


def _log_of(out: Path) -> Path:
    return out.with_suffix(".log")


def _last_lines(out: Path) -> str:
    return "\n".join(_log_of(out).read_text(errors="replace").splitlines()[-8:])
