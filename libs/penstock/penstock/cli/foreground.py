"""`penstock dev run` and `penstock dev demo`: in the foreground, with the demonstration."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType

import typer

from penstock.cli.console import Out, failing_well
from penstock.cli.dev import (
    Data,
    Ephemeral,
    Json,
    Providers,
    Qdrant,
    Replicas,
    Tasks,
    Verify,
    show_banner,
    stack_options,
    start_stack,
)
from penstock.demo.report import Report
from penstock.demo.run import run_demo
from penstock.dev.endpoints import DevJson, read_dev_json
from penstock.dev.errors import NotReady
from penstock.dev.launch import RunningStack, take_down
from penstock.dev.options import StackOptions
from penstock.dev.paths import StackPaths
from penstock.dev.state import is_supervised
from penstock.errors import ExitStatus

__all__ = ["demo", "run"]

_LOOK_S = 0.5
"""How often we look whether the stack is still there."""


def run(
    *,
    replicas: Replicas = "",
    providers: Providers = None,
    tasks: Tasks = None,
    data: Data = None,
    ephemeral: Ephemeral = False,
    qdrant: Qdrant = None,
    verify_producers: Verify = False,
) -> None:
    """Start the stack, run the demonstration, then serve until Ctrl-C."""
    with failing_well():
        options = stack_options(
            replicas=replicas,
            providers=providers,
            tasks=tasks,
            data=data,
            ephemeral=ephemeral,
            qdrant=qdrant,
            verify_producers=verify_producers,
        )
        out = Out(json=False)
        with _Interrupts() as interrupted:
            running = _start(options, out)
            try:
                _demonstrate(out, running.dev)
                out.say("\nserving until Ctrl-C; logs are in " + str(options.root / "log"))
                _serve(options, interrupted)
            except KeyboardInterrupt:
                out.say("\nstopping")
            finally:
                if running.is_new:
                    take_down(StackPaths(options.root))
        out.say("stopped; nothing is left running")


def demo(
    *,
    data: Data = None,
    ephemeral: Ephemeral = False,
    json: Json = False,
) -> None:
    """Run the demonstration once; the exit status tells whether all of it held.

    It uses the stack that runs already, else it starts one and stops it afterwards.
    """
    with failing_well(json=json):
        options = stack_options(
            replicas="",
            providers=None,
            tasks=None,
            data=data,
            ephemeral=ephemeral,
            qdrant=None,
            verify_producers=False,
        )
        out = Out(json=json)
        with _Interrupts():
            running = _running(options, out) or _start(options, out)
            try:
                report = _demonstrate(out, running.dev)
            finally:
                if running.is_new:
                    take_down(StackPaths(options.root))
        out.document(report.document())
        if report.has_failed:
            raise typer.Exit(ExitStatus.FAILED)


class _Interrupts:
    """While entered, SIGTERM counts as Ctrl-C, and the first of either is noted for `wait`."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._before: signal.Handlers | object | None = None

    def __enter__(self) -> threading.Event:
        self._before = signal.signal(signal.SIGTERM, self._on_term)
        return self._came

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]  # what signal() returned

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._came.set()
        raise KeyboardInterrupt


def _start(options: StackOptions, out: Out) -> RunningStack:
    running = start_stack(options, tied=True)
    show_banner(out, running)
    return running


def _running(options: StackOptions, out: Out) -> RunningStack | None:
    """The stack that runs on the folder, whatever its options."""
    paths = StackPaths(options.root)
    dev = read_dev_json(paths) if is_supervised(paths) else None
    if dev is None:
        return None
    running = RunningStack(dev=dev, is_new=False)
    show_banner(out, running)
    return running


def _demonstrate(out: Out, dev: DevJson) -> Report:
    report = asyncio.run(run_demo(dev, say=out.say))
    held = sum(part.failure is None for part in report.parts)
    out.say(f"\n{held} of {len(report.parts)} demonstrations hold")
    return report


def _serve(options: StackOptions, interrupted: threading.Event) -> None:
    paths = StackPaths(options.root)
    while not interrupted.wait(_LOOK_S):
        if not is_supervised(paths):
            raise NotReady(
                "the stack is gone: its supervisor ended",
                hint=f"read {paths.logs / 'supervisor.log'}",
            )
