"""Slow work over one topic: `python minimal.py BOOTSTRAP TOPIC`, ended by SIGTERM or Ctrl-C."""

import asyncio
import signal
import sys

from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Delivery, Done
from penstock_kit.settings import KafkaSettings


async def handle(delivery: Delivery) -> Done:
    await asyncio.sleep(0.1)  # a call that takes its time: hundreds of them run at once
    print(delivery.record.key, delivery.record.value, flush=True)
    return Done()


async def main(bootstrap: str, topic: str) -> None:
    kafka, over = KafkaSettings(bootstrap=bootstrap), asyncio.Event()
    producer, consumer = KafkaProducer(kafka), GroupConsumer(kafka, f"{topic}-workers")
    lanes = Lanes(
        consumer=consumer, producer=producer, handler=handle, topics=[topic], name="example",
        dead_topic=f"{topic}.dead", on_fatal=lambda _: over.set(),
    )  # fmt: skip
    await producer.start()
    await lanes.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await over.wait()
    await lanes.stop()
    await producer.stop()


asyncio.run(main(*sys.argv[1:]))
