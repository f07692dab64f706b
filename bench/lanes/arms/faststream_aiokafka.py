"""FastStream on aiokafka: `max_workers`, default acknowledgement (first, by auto-commit)."""

from __future__ import annotations

import asyncio
import os

import uvloop
from faststream import FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from recording import Order, Recording, read_order


async def main(order: Order) -> None:
    recording = Recording(order)
    broker = KafkaBroker(order.bootstrap, logger=None)
    over = asyncio.Event()

    @broker.subscriber(
        order.topic,
        group_id=order.group,
        auto_offset_reset="earliest",
        max_workers=order.concurrency,
        batch=False,
    )
    async def work(message: KafkaMessage) -> None:
        index, work_s = recording.begin(message.body)
        if work_s:
            await asyncio.sleep(work_s)
        if recording.end(index):
            over.set()

    app = FastStream(broker, logger=None)
    running = asyncio.create_task(app.run())
    await over.wait()
    recording.save()
    running.cancel()
    os._exit(0)


uvloop.run(main(read_order()))
