"""What suites on lanes share: a handler that remembers, and lanes on any Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from penstock_kit.errors import Fatal
from penstock_kit.kafka.ports import Consumer
from penstock_kit.lanes.backoff import Backoff
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy

from tests.support import waiting
from tests.support.kafka_ports import Ports

__all__ = ["QUICK", "Work", "number", "running", "until"]

PATIENCE_S = 30.0
QUICK = LanePolicy(attempts=3, backoff=Backoff(base=timedelta(milliseconds=10)))

until = partial(waiting.until, within_s=PATIENCE_S)


class Work:
    """A handler that remembers; `act` decides what happens inside."""

    def __init__(self, act: Callable[[Delivery], Awaitable[Outcome]] | None = None) -> None:
        self._act = act
        self.begun: list[Delivery] = []
        self.done: list[Delivery] = []
        self.cancelled = 0
        self.at_once = self.most_at_once = 0

    async def __call__(self, delivery: Delivery) -> Outcome:
        self.begun.append(delivery)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            outcome = await self._act(delivery) if self._act is not None else Done()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        self.done.append(delivery)
        return outcome

    @property
    def numbers(self) -> list[int]:
        """What is done, in order of numbers."""
        return sorted(number(delivery) for delivery in self.done)


def number(delivery: Delivery) -> int:
    """The number that `Ports.fill` wrote."""
    return int(delivery.record.value or b"-1")


@asynccontextmanager
async def running(
    ports: Ports,
    work: Work,
    *,
    policy: LanePolicy = QUICK,
    faults: list[Fatal] | None = None,
    consumer: Consumer | None = None,
    **more: Any,
) -> AsyncIterator[Lanes]:
    """Lanes over the topic of `ports`, stopped at the end; `more` goes to their constructor."""
    lanes = Lanes(
        consumer=consumer or ports.make_consumer(ports.group),
        producer=ports.producer,
        handler=work,
        topics=[ports.topic],
        policy=policy,
        on_fatal=(faults if faults is not None else []).append,
        name="test",
        **more,
    )
    await lanes.start()
    try:
        yield lanes
    finally:
        await lanes.stop()
