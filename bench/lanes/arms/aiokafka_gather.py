"""aiokafka with order and at least once as careful users build it: batch, barrier, commit."""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict

import uvloop
from aiokafka import AIOKafkaConsumer
from recording import Order, Recording, read_order, wait_for_go


async def main(order: Order) -> None:
    recording = Recording(order)
    is_stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_stopping.set)
    consumer = AIOKafkaConsumer(
        order.topic,
        bootstrap_servers=order.bootstrap,
        group_id=order.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )

    async def run_key(values: list[bytes]) -> None:
        for value in values:
            index, work_s = recording.begin(value)
            if work_s:
                await asyncio.sleep(work_s)
            recording.end(index)

    await wait_for_go(order)
    await consumer.start()
    while not recording.is_over and not is_stopping.is_set():
        batches = await consumer.getmany(timeout_ms=200, max_records=order.concurrency)
        by_key: dict[bytes, list[bytes]] = defaultdict(list)
        for messages in batches.values():
            for message in messages:
                by_key[message.key].append(message.value)
        if by_key:
            await asyncio.gather(*(run_key(values) for values in by_key.values()))
            await consumer.commit()
    recording.save()
    await consumer.stop()


uvloop.run(main(read_order()))
