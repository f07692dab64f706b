"""CPU per message of lanes and of the producer, beside raw librdkafka; needs a broker.

    python bench/lanes_smoke.py --bootstrap 127.0.0.1:9092 [--only noop,keyed,producer] [--profile]

CPU is utime + stime of this whole process, librdkafka's threads included, divided by messages.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import resource
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import confluent_kafka
import uvloop
from penstock_contracts.topics import DEAD, Cleanup, Topic
from penstock_kit.errors import Fatal
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.factory import consumer_config, producer_config
from penstock_kit.kafka.ports import Ack, OutRecord, ProducerFull
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.settings import KafkaSettings

BODY = bytes(1024)
KEYS = 1000
PARTITIONS = 8


def cpu_s() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def show(row: str, count: int, seconds: float, cpu: float) -> None:
    """Print one row."""
    print(
        f"{row:<34} {count / seconds:>9.0f} msg/s {1e6 * cpu / count:>8.1f} us CPU/msg", flush=True
    )


async def fresh_topic(settings: KafkaSettings) -> str:
    """Make a topic and name it."""
    topic = Topic(
        name=f"bench-{uuid4().hex[:8]}",
        key="any",
        about="A benchmark.",
        partitions=PARTITIONS,
        cleanup=Cleanup.DELETE,
        retention_ms=None,
        messages=(),
        written_by=(),
        read_by=(),
    )
    await ensure_topics(settings, [topic, DEAD])
    return topic.name


async def fill(settings: KafkaSettings, topic: str, count: int) -> None:
    """Write `count` records of 1 KiB."""
    producer = KafkaProducer(settings, client_id="fill")
    await producer.start()
    for n in range(count):
        while True:
            try:
                producer.send_soon(
                    OutRecord(topic, b"key-%d" % (n % KEYS), BODY, [("n", b"%d" % n)])
                )
                break
            except ProducerFull:
                await asyncio.sleep(0.01)
    await producer.stop(60)


async def run_lanes(
    settings: KafkaSettings,
    topic: str,
    count: int,
    *,
    row: str,
    policy: LanePolicy,
    work: Callable[[], Awaitable[None]] | None,
) -> None:
    """Read the topic from its beginning through lanes."""
    producer = KafkaProducer(settings)
    await producer.start()
    done = asyncio.Event()
    seen = 0
    first = 0.0
    cpu_first = 0.0

    async def handle(_: Delivery) -> Outcome:
        nonlocal seen, first, cpu_first
        if not seen:
            first, cpu_first = time.perf_counter(), cpu_s()
        if work is not None:
            await work()
        seen += 1
        if seen == count:
            done.set()
        return Done()

    def on_fatal(error: Fatal) -> None:
        raise SystemExit(str(error))

    lanes = Lanes(
        consumer=GroupConsumer(settings, f"bench-{uuid4().hex[:8]}"),
        producer=producer,
        handler=handle,
        topics=[topic],
        policy=policy,
        on_fatal=on_fatal,
        name="bench",
    )
    await lanes.start()
    await done.wait()
    show(row, count, time.perf_counter() - first, cpu_s() - cpu_first)
    await lanes.stop()
    await producer.stop()


def run_raw_consumer(settings: KafkaSettings, topic: str, count: int) -> None:
    """The least that reading can cost."""
    consumer = confluent_kafka.Consumer(
        consumer_config(settings, f"raw-{uuid4().hex[:8]}", client_id="raw")
    )
    consumer.subscribe([topic])
    while not (messages := consumer.consume(500, 0.1)):
        pass
    started, cpu, seen = time.perf_counter(), cpu_s(), 0
    while True:
        seen += len(messages)
        if seen >= count:
            break
        messages = consumer.consume(500, 0.1)
        if messages:
            consumer.commit(asynchronous=True)
    show("raw consume(500), floor", count, time.perf_counter() - started, cpu_s() - cpu)
    consumer.close()


async def run_producer(settings: KafkaSettings, topic: str, count: int) -> None:
    """Our producer, both ways."""
    producer = KafkaProducer(settings)
    await producer.start()
    headers = [("ce_id", b"1"), ("ce_type", b"t")]

    async def one_by_one(share: int) -> None:
        for n in range(share):
            await producer.send(OutRecord(topic, b"%d" % n, BODY, headers))

    started, cpu = time.perf_counter(), cpu_s()
    await asyncio.gather(*(one_by_one(count // 64) for _ in range(64)))
    show("KafkaProducer.send, 64 at once", count, time.perf_counter() - started, cpu_s() - cpu)

    acked = asyncio.Event()
    acks = 0

    def on_ack(ack: Ack | None, _: Exception | None) -> None:
        nonlocal acks
        acks += ack is not None
        if acks == count:
            acked.set()

    started, cpu = time.perf_counter(), cpu_s()
    for n in range(count):
        producer.send_soon(OutRecord(topic, b"%d" % n, BODY, headers), on_ack)
        if n % 100 == 99:
            await asyncio.sleep(0)
    await acked.wait()
    show("KafkaProducer.send_soon", count, time.perf_counter() - started, cpu_s() - cpu)
    await producer.stop()


def run_raw_producer(settings: KafkaSettings, topic: str, count: int) -> None:
    """The least that writing can cost."""
    producer = confluent_kafka.Producer(producer_config(settings, client_id="raw"))
    headers: list[tuple[str, str | bytes | None]] = [("ce_id", b"1"), ("ce_type", b"t")]
    acks = 0

    def on_delivery(*_: object) -> None:
        nonlocal acks
        acks += 1

    started, cpu = time.perf_counter(), cpu_s()
    for n in range(count):
        producer.produce(topic, BODY, b"%d" % n, headers=headers, on_delivery=on_delivery)
        if n % 100 == 99:
            producer.poll(0)
    producer.flush()
    show("raw produce, floor", count, time.perf_counter() - started, cpu_s() - cpu)


async def run_latency(settings: KafkaSettings, topic: str, count: int) -> None:
    """Send one record each 5 ms; time from `send_soon` to the handler."""
    producer = KafkaProducer(settings)
    await producer.start()
    sent: dict[bytes | None, float] = {}
    delays: list[float] = []

    async def handle(delivery: Delivery) -> Outcome:
        at = sent.get(delivery.record.key)
        if at is not None:
            delays.append(time.perf_counter() - at)
        return Done()

    lanes = Lanes(
        consumer=GroupConsumer(settings, f"bench-{uuid4().hex[:8]}"),
        producer=producer,
        handler=handle,
        topics=[topic],
        on_fatal=print,
        name="bench",
    )
    await lanes.start()
    while lanes.stats.assigned < PARTITIONS:  # noqa: ASYNC110 - a fact of another thread
        await asyncio.sleep(0.05)
    cpu = cpu_s()
    for n in range(count):
        sent[b"lat-%d" % n] = time.perf_counter()
        producer.send_soon(OutRecord(topic, b"lat-%d" % n, b"x"))
        await asyncio.sleep(0.005)
    while len(delays) < count:  # noqa: ASYNC110 - the same
        await asyncio.sleep(0.05)
    cpu = cpu_s() - cpu
    delays.sort()
    print(
        f"produce -> broker -> handler, ms: p50 {1e3 * delays[count // 2]:.2f} "
        f"p90 {1e3 * delays[int(count * 0.9)]:.2f} p99 {1e3 * delays[int(count * 0.99)]:.2f}; "
        f"{1e6 * cpu / count:.0f} us CPU/msg with produce"
    )
    await lanes.stop()
    await producer.stop()


async def main(arguments: argparse.Namespace) -> None:
    """Run the chosen rows."""
    settings = KafkaSettings(bootstrap=arguments.bootstrap)
    rows = set(arguments.only.split(","))
    if "producer" in rows:
        topic = await fresh_topic(settings)
        for _ in range(2):
            run_raw_producer(settings, topic, arguments.count)
            await run_producer(settings, topic, arguments.count)
    if "latency" in rows:
        await run_latency(settings, await fresh_topic(settings), 400)
    if "noop" in rows:
        topic = await fresh_topic(settings)
        await fill(settings, topic, arguments.count)
        for _ in range(2):
            run_raw_consumer(settings, topic, arguments.count)
            await run_lanes(
                settings,
                topic,
                arguments.count,
                row="lanes, no-op, by key",
                policy=LanePolicy(),
                work=None,
            )
    if "keyed" in rows:
        topic = await fresh_topic(settings)
        await fill(settings, topic, arguments.count)
        await run_lanes(
            settings,
            topic,
            arguments.count,
            row="lanes, 1000 keys x 100 ms",
            policy=LanePolicy(max_in_flight=1000),
            work=lambda: asyncio.sleep(0.1),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--only", default="producer,latency,noop,keyed")
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    if chosen.profile:
        profile = cProfile.Profile()
        profile.runcall(uvloop.run, main(chosen))
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    else:
        uvloop.run(main(chosen))
