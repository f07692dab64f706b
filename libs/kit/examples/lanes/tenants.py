"""Tenants take turns, one of them is paused for a second: rules of your own at run time.

    python tenants.py BOOTSTRAP TOPIC

reads the tenant from the header `tenant`; the tenant `late` waits.
"""

import asyncio
import signal
import sys
from collections.abc import Callable

from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.ports import Record
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Delivery, Done
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.rules import Verdict
from penstock_kit.settings import KafkaSettings


def tenant_of(record: Record) -> str:
    """Whose record it is."""
    return dict(record.headers).get("tenant", b"").decode()


class Paused:
    """Implements `Rules`: the named tenants wait until they are let go."""

    def __init__(self, *tenants: str) -> None:
        self._tenants = set(tenants)
        self._callbacks: list[Callable[[], None]] = []

    def verdict(self, record: Record) -> Verdict | None:
        """Asked at the moment when a record would start."""
        return Verdict(held_by="example") if tenant_of(record) in self._tenants else None

    def on_change(self, callback: Callable[[], None]) -> None:
        """Lanes judge again what they hold, when told."""
        self._callbacks.append(callback)

    def let_go(self, tenant: str) -> None:
        """The tenant's records run from now on."""
        self._tenants.discard(tenant)
        for callback in self._callbacks:
            callback()


async def handle(delivery: Delivery) -> Done:
    """One line per record."""
    await asyncio.sleep(0.01)
    print(tenant_of(delivery.record), (delivery.record.value or b"").decode(), flush=True)
    return Done()


async def main(bootstrap: str, topic: str) -> None:
    """Run until a signal comes."""
    kafka, over, rules = KafkaSettings(bootstrap=bootstrap), asyncio.Event(), Paused("late")
    producer = KafkaProducer(kafka)
    lanes = Lanes(
        consumer=GroupConsumer(kafka, f"{topic}-workers"),
        producer=producer,
        handler=handle,
        topics=[topic],
        policy=LanePolicy(max_in_flight=8, tenant_in_flight=4),
        tenant_of=tenant_of,
        rules=rules,
        dead_topic=f"{topic}.dead",
        on_fatal=lambda _: over.set(),
        name="example",
    )
    await producer.start()
    await lanes.start()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    loop.call_later(1.0, rules.let_go, "late")
    await over.wait()
    await lanes.stop()
    await producer.stop()


asyncio.run(main(*sys.argv[1:]))
