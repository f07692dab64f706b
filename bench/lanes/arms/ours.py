"""Lanes as a user would run them: order per key, at least once, defaults but for concurrency."""

from __future__ import annotations

import asyncio
import os
import signal

import uvloop
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.settings import KafkaSettings
from recording import Order, Recording, read_order, wait_for_go


async def main(order: Order) -> None:
    settings = KafkaSettings(bootstrap=order.bootstrap)
    recording = Recording(order)
    over = asyncio.Event()

    async def handle(delivery: Delivery) -> Outcome:
        assert delivery.record.value is not None
        index, work_s = recording.begin(delivery.record.value)
        if work_s:
            await asyncio.sleep(work_s)
        if recording.end(index):
            over.set()
        return Done()

    def on_fatal(error: Exception) -> None:
        raise SystemExit(str(error))

    producer = KafkaProducer(settings)
    lanes = Lanes(
        consumer=GroupConsumer(settings, order.group),
        producer=producer,
        handler=handle,
        topics=[order.topic],
        policy=LanePolicy(max_in_flight=order.concurrency),
        on_fatal=on_fatal,
        name="bench",
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await wait_for_go(order)
    await producer.start()
    await lanes.start()
    await over.wait()
    recording.save()
    await lanes.stop()
    await producer.stop()


uvloop.run(main(read_order()))
os._exit(0)
