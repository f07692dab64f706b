"""Every record fails once, and those whose value is `never` always: a retry topic, dead letters.

    python retries.py BOOTSTRAP TOPIC

needs TOPIC, TOPIC.dead, and TOPIC.retry with `message.timestamp.type=LogAppendTime`.
"""

import asyncio
import signal
import sys
from datetime import timedelta

from penstock_contracts.dead import DeadReason
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome, Retry
from penstock_kit.lanes.retry_topics import RetryTier, RetryTopics
from penstock_kit.settings import KafkaSettings


async def handle(delivery: Delivery) -> Outcome:
    """Decide by how often it has failed before; the count travels with the record."""
    text = (delivery.record.value or b"").decode()
    if delivery.failures == 0:
        return Retry(after=timedelta(seconds=0.3), code="away", detail="the first try never works")
    if text == "never" and delivery.failures < 3:
        return Retry(after=timedelta(seconds=0.3), code="away", detail="still away")
    if text == "never":
        return Dead(DeadReason.FAILURE, "gave_up", "three tries failed", attempts=3)
    print("done", text, "after", delivery.failures, "failure", flush=True)
    return Done()


async def main(bootstrap: str, topic: str) -> None:
    """Run until a signal comes."""
    kafka, over = KafkaSettings(bootstrap=bootstrap), asyncio.Event()
    producer = KafkaProducer(kafka)
    lanes = Lanes(
        consumer=GroupConsumer(kafka, f"{topic}-workers"),
        producer=producer,
        handler=handle,
        topics=[topic],
        retries=RetryTopics([RetryTier(f"{topic}.retry", timedelta(seconds=5))]),
        dead_topic=f"{topic}.dead",
        on_fatal=lambda _: over.set(),
        name="example",
    )
    await producer.start()
    await lanes.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await over.wait()
    await lanes.stop()
    await producer.stop()


asyncio.run(main(*sys.argv[1:]))
