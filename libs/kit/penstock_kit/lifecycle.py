"""Start, run, drain, stop: the contract of parts, and the frame of every process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, NoReturn, Protocol

import structlog

from penstock_kit.errors import Fatal

__all__ = ["Part", "Service", "run_service"]

log = structlog.get_logger(__name__)

_SWITCH_S = 0.0005
_GC_OBJECTS = 5_000
"""New objects until the youngest are looked through; at the default of 700 a busy service spends
three per cent of its time on it and finds nearly nothing: requests leave no cycles behind."""


class Part(Protocol):
    """Anything that runs.

    `start` returns when ready; `stop` waits until it is over, works twice and unstarted.
    """

    async def start(self) -> None: ...  # noqa: D102 - said above

    async def stop(self) -> None: ...  # noqa: D102 - said above


class Service:
    """The parts of a process in the order in which they start; they stop in reverse.

    SIGTERM or SIGINT drains: `on_drain` first (unready, pause), then every `stop`. A second signal
    or the drain time-out ends the process with status 1; leases then run out by themselves.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[Part],
        *,
        drain_timeout: timedelta,
        on_started: Callable[[], None] | None = None,
        on_drain: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._parts = list(parts)
        self._drain_timeout_s = drain_timeout.total_seconds()
        self._on_started = on_started
        self._on_drain = on_drain
        self._on_running: Callable[[], None] | None = None
        self._failure: asyncio.Future[Fatal] | None = None
        self._early_failure: Fatal | None = None
        self._starting: asyncio.Task[None] | None = None
        self._begun: list[Part] = []

    def fail(self, error: Fatal) -> None:
        """Say that a part cannot go on: the process drains and exits with 1. Loop thread only."""
        if self._failure is None:
            self._early_failure = error
        elif not self._failure.done():
            self._failure.set_result(error)

    async def run(self, *, on_running: Callable[[], None] | None = None) -> int:
        """Start, wait for a signal or a failure, drain; the exit status.

        `on_running` is called once all is started; the process is its caller's alone.
        """
        self._on_running = on_running
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        if self._early_failure is not None:
            self._failure.set_result(self._early_failure)
        signalled, hurried = asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            (hurried if signalled.is_set() else signalled).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        try:
            status = await self._start_and_wait(signalled)
        finally:
            if self._on_drain is not None:
                self._on_drain()
            is_drained = await self._stop(hurried)
        log.info("service.stopped", service=self._name, drained=is_drained)
        return status if is_drained else 1

    async def _start_and_wait(self, signalled: asyncio.Event) -> int:
        assert self._failure is not None
        asked = asyncio.create_task(signalled.wait(), name="signal")
        try:
            if await self._start_all(asked):
                log.info("service.started", service=self._name)
                for told in (self._on_started, self._on_running):
                    if told is not None:
                        told()
                await _first_of(asked, self._failure)
        except Fatal as error:
            log.critical("service.refused", service=self._name, error=str(error))
            return 1
        except Exception:
            # The edge of the process: a fault that nobody foresaw is told once, then we drain.
            log.exception("service.crashed", service=self._name)
            return 1
        finally:
            asked.cancel()
        if self._failure.done():
            log.critical("service.failed", service=self._name, error=str(self._failure.result()))
            return 1
        return 0

    async def _start_all(self, asked: asyncio.Task[Literal[True]]) -> bool:
        """Start part after part; False when a signal or a failure came in between."""
        assert self._failure is not None
        for part in self._parts:
            self._begun.append(part)
            self._starting = asyncio.create_task(
                _call(part.start), name=f"start {type(part).__name__}"
            )
            await _first_of(self._starting, asked, self._failure)
            if not self._starting.done():
                self._starting.cancel()
                return False
            self._starting.result()
            if asked.done() or self._failure.done():
                return False
        return True

    async def _stop(self, hurried: asyncio.Event) -> bool:
        stopping = asyncio.create_task(self._stop_all(), name="stop")
        hurry = asyncio.create_task(hurried.wait(), name="second signal")
        await asyncio.wait(
            {stopping, hurry}, timeout=self._drain_timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        hurry.cancel()
        if stopping.done():
            return stopping.result()
        stopping.cancel()
        log.error(
            "service.drain_cut",
            service=self._name,
            reason="second signal" if hurried.is_set() else "time-out",
        )
        return False

    async def _stop_all(self) -> bool:
        if self._starting is not None and not self._starting.done():
            await asyncio.wait({self._starting})
        clean = True
        for part in reversed(self._begun):
            try:
                await part.stop()
            except Exception:
                log.exception("service.stop_failed", part=type(part).__name__)
                clean = False
        return clean


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(set(futures), return_when=asyncio.FIRST_COMPLETED)


async def _call(function: Callable[[], Awaitable[None]]) -> None:
    await function()


def run_service(make: Callable[[], Awaitable[Service]]) -> NoReturn:
    """Run a service under uvloop and exit with its status; a refusal is printed as a sentence."""
    # A client thread with a record or an ack in hand waits this long for a busy loop to let go of
    # the interpreter; the default of 5 ms adds up over the hops of a first token.
    sys.setswitchinterval(_SWITCH_S)
    import uvloop  # noqa: PLC0415 - only processes that run need it

    async def main() -> NoReturn:
        _exit_now(await (await make()).run(on_running=_keep_what_is_loaded))

    try:
        uvloop.run(main())
    except Fatal as error:
        print(f"refused to start: {error}", file=sys.stderr)  # noqa: T201 - logs may not be set up yet
    sys.exit(1)


def _keep_what_is_loaded() -> None:
    """No collection looks again at what is loaded now: it stays anyway.

    One that did would stop everything for some tens of milliseconds, again and again under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_OBJECTS, *gc.get_threshold()[1:])


def _exit_now(status: int) -> NoReturn:
    """End the process without waiting for threads.

    Whatever had to be written is flushed by `stop`; a thread that hangs in a client library must
    not keep a drained process alive.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
