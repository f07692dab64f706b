"""`python -m tests.promises.launched <service module>`: a service as the rig runs it.

The product knows nothing of it. Before the service starts, in its own process:
`RIG_SKEW_S` makes its wall clock wrong, `RIG_CRASHES` lets marked prompts kill it,
`RIG_SABOTAGE` breaks one promise on purpose.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tests.promises.journal import Journal

CRASH_MARK = "[poison: crash the worker]"
"""A prompt with these words ends the worker that is about to call the provider with it."""
_CRASH_STATUS = 86


def main() -> None:
    """Patch what the environment asks for, then become the service."""
    module = sys.argv[1]
    if skew := os.environ.get("RIG_SKEW_S"):
        _skew(float(skew))
    if (crashes := os.environ.get("RIG_CRASHES")) and module == "llm_worker":
        _crash_on_mark(Path(crashes))
    if module == "llm_worker":
        _freeze_on_signal()
    if names := os.environ.get("RIG_SABOTAGE"):
        switches = importlib.import_module("tests.promises.sabotage.switches")
        for name in names.split(","):
            switches.SWITCHES[name].apply(module)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _skew(seconds: float) -> None:
    """Every wall clock that Python code of the service can read is wrong by so much."""
    from penstock_kit import clock  # noqa: PLC0415 - only skewed processes

    real = time.time

    def skewed_now(_: object) -> datetime:
        return datetime.fromtimestamp(real(), timezone.utc) + timedelta(seconds=seconds)

    time.time = lambda: real() + seconds
    clock.SystemClock.now = skewed_now  # type: ignore[method-assign,assignment] # the point of it


def _freeze_on_signal() -> None:
    """SIGUSR1: the poll thread stands still from its next round on, for ever."""
    poller = importlib.import_module("penstock_kit.lanes.poller").Poller
    round_of = poller._round
    frozen = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: frozen.set())

    def round_or_stand(self: Any) -> None:
        while frozen.is_set():
            time.sleep(1)
        round_of(self)

    poller._round = round_or_stand


def _crash_on_mark(log: Path) -> None:
    """A poison job: die without a word in the moment before the call."""
    provider = importlib.import_module("llm_worker.openai_provider").OpenAIProvider
    run = provider.run

    async def run_or_die(self: Any, call: Any, *rest: Any, **named: Any) -> None:
        if any(CRASH_MARK in str(message.get("content")) for message in call.messages):
            journal = Journal(log)
            journal.write(label=os.environ["RIG_LABEL"], job=call.job, attempt=call.attempt)
            os._exit(_CRASH_STATUS)
        await run(self, call, *rest, **named)

    provider.run = run_or_die


if __name__ == "__main__":
    main()
