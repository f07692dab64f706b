"""librdkafka's `consume(500)` without any concurrency: the floor of what reading can cost."""

from __future__ import annotations

from confluent_kafka import Consumer
from recording import Recording, read_order

order = read_order()
recording = Recording(order)
consumer = Consumer(
    {
        "bootstrap.servers": order.bootstrap,
        "group.id": order.group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    }
)
consumer.subscribe([order.topic])
while not recording.is_over:
    messages = consumer.consume(500, 0.1)
    for message in messages:
        if message.error() is None:
            recording.end(recording.begin(message.value())[0])
    if messages:
        consumer.commit(asynchronous=True)
recording.save()
consumer.close()
