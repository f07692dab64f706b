"""FastStream on Kafka with a reply topic made by hand: what one writes without a job platform.

No record of a job, no retry, no resume; who waits must be the process that asked.
"""

import asyncio
import os
import sys
import uuid

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from asking import WORK_S, ask_in_loop, read_order
from faststream import FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage

KAFKA = os.environ["BENCH_KAFKA"]
REQUESTS, REPLIES = os.environ["BENCH_TOPICS"].split(",")


def worker():
    broker = KafkaBroker(KAFKA, acks="all", logger=None)

    @broker.subscriber(
        REQUESTS, group_id="naps", auto_offset_reset="earliest", max_workers=200, batch=False
    )
    async def nap(message: KafkaMessage) -> None:
        number = orjson.loads(message.body)
        await asyncio.sleep(WORK_S)
        await broker.publish(
            orjson.dumps(number + 1), REPLIES, correlation_id=message.correlation_id
        )

    uvloop.run(FastStream(broker, logger=None).run())


async def main():
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA, acks="all")
    consumer = AIOKafkaConsumer(REPLIES, bootstrap_servers=KAFKA, auto_offset_reset="latest")
    await producer.start()
    await consumer.start()
    await consumer.seek_to_end()
    waiting = {}

    async def listen():
        async for record in consumer:
            correlation = dict(record.headers).get("correlation_id", b"").decode()
            future = waiting.pop(correlation, None)
            if future is not None:
                future.set_result(orjson.loads(record.value))

    listening = asyncio.create_task(listen())

    async def ask(number):
        correlation = uuid.uuid4().hex
        reply = waiting[correlation] = asyncio.get_running_loop().create_future()
        headers = [("correlation_id", correlation.encode())]
        await producer.send_and_wait(REQUESTS, orjson.dumps(number), headers=headers)
        return await asyncio.wait_for(reply, 30)

    await ask_in_loop(read_order(), ask)
    listening.cancel()
    await producer.stop()
    await consumer.stop()


if __name__ == "__main__":
    uvloop.run(main()) if sys.argv[1] == "client" else worker()
