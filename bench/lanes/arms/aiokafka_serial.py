"""aiokafka `getmany` without any concurrency: a floor for work that takes no time."""

from __future__ import annotations

import asyncio

import uvloop
from aiokafka import AIOKafkaConsumer
from recording import Order, Recording, read_order


async def main(order: Order) -> None:
    recording = Recording(order)
    consumer = AIOKafkaConsumer(
        order.topic,
        bootstrap_servers=order.bootstrap,
        group_id=order.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    while not recording.is_over:
        batches = await consumer.getmany(timeout_ms=200, max_records=500)
        for messages in batches.values():
            for message in messages:
                index, work_s = recording.begin(message.value)
                if work_s:
                    await asyncio.sleep(work_s)
                recording.end(index)
        if batches:
            await consumer.commit()
    recording.save()
    await consumer.stop()


uvloop.run(main(read_order()))
