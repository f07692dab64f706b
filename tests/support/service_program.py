"""A small service for lifecycle tests: `python -m tests.support.service_program <behaviour>`.

Prints what happens, one word per line, so that a test can wait for it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta

from penstock_kit.errors import Fatal
from penstock_kit.lifecycle import Service, run_service
from penstock_kit.settings import AdminSettings, LogSettings
from penstock_kit.telemetry.health import AdminServer, Health
from penstock_kit.telemetry.logs import configure_logs
from penstock_kit.telemetry.metrics import process_registry


def say(word: str) -> None:
    print(word, flush=True)  # noqa: T201 - a program's output


class Noisy:
    """A part that says what is asked of it, and may misbehave."""

    def __init__(self, name: str, behaviour: str) -> None:
        self.name = name
        self.behaviour = behaviour

    async def start(self) -> None:
        """Start, or hang, refuse or crash on request."""
        say(f"{self.name} starts")
        match self.behaviour:
            case "slow-start":
                await asyncio.Event().wait()
            case "refuse":
                raise Fatal("the moon is not full; wait for it")
            case "crash":
                raise ZeroDivisionError("nobody foresaw this")
            case "thread-hangs":
                await asyncio.to_thread(time.sleep, 60)

    async def stop(self) -> None:
        """Stop, or hang or fail on request."""
        say(f"{self.name} stops")
        if self.behaviour.startswith("slow-stop"):
            asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
            await asyncio.Event().wait()
        if self.behaviour == "bad-stop":
            raise OSError("cannot let go")


async def make() -> Service:
    """One quiet part, one that behaves as asked, and the admin port in front."""
    behaviour = sys.argv[1]
    if behaviour == "bad-settings":
        raise Fatal("PENSTOCK_MOON must be full; set PENSTOCK_MOON=full")
    configure_logs(LogSettings(), "test", "test-1")
    health = Health("test")
    admin = AdminServer(AdminSettings(port=0), health, process_registry("test", version="0"))

    def started() -> None:
        health.set_started()
        say(f"ready {admin.port}")
        if behaviour == "fail-later":
            asyncio.get_running_loop().call_soon(service.fail, Fatal("the broker fenced us"))

    def draining() -> None:
        health.set_draining()
        say("draining")

    service = Service(
        "test",
        [admin, Noisy("first", ""), Noisy("second", behaviour)],
        drain_timeout=timedelta(seconds=1 if behaviour == "slow-stop-alone" else 30),
        on_started=started,
        on_drain=draining,
    )
    return service


if __name__ == "__main__":
    run_service(make)
