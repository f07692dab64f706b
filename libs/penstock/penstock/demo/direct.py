"""Part 3: another process writes a job straight into Kafka; its result is read from the log."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock_contracts.events import TERMINAL, Completed
from penstock_contracts.topics import EVENTS
from penstock_kit.kafka.factory import make_tail_consumer
from penstock_kit.settings import KafkaSettings

from penstock.client.models import StreamEvent
from penstock.client.transcript import output_text
from penstock.client.wire import event_of
from penstock.demo.report import Report

__all__ = ["show_direct"]

_TIMEOUT_S = 300.0
_POLL_MS = 500
_PROGRAM = """\
import sys
from penstock import ProducerIdentity, SyncEventProducer

bootstrap, tenant, producer, secret = sys.argv[1:]
identity = ProducerIdentity(
    tenant=tenant, source="demo/other-service", producer=producer or None, secret=secret or None
)
with SyncEventProducer(bootstrap, identity) as producer:
    messages = [{"role": "user", "content": "Name three colours."}]
    params = {"max_tokens": 24, "temperature": 0}
    print(producer.send("chat", {"messages": messages}, params=params))
"""


async def show_direct(
    settings: KafkaSettings, report: Report, *, tenant: str, producer: str = "", secret: str = ""
) -> None:
    """Run the part; `producer` and its `secret` are empty on a stack that takes unsigned events.

    Raises:
        DemoFailed: the other process failed, or the job did not complete.
    """
    async with asyncio.timeout(_TIMEOUT_S), _log_from_now(settings) as log:
        job = await _produce(report, settings.bootstrap, tenant, producer, secret)
        report.step(f"a second process produced {job} to ai.chat.requests.v1")
        events = [event async for event in _events_of(job, log)]
    last = events[-1]
    report.check(isinstance(last, Completed), f"the job to complete, but it is {last.type}")
    assert isinstance(last, Completed)
    report.step(f"{len(events)} records of {EVENTS.name} read, the last is {last.type}")
    report.step(f"answer: {' '.join((output_text(last.output) or '').split())[:100]}")


async def _events_of(
    job: str, log: AsyncIterator[tuple[bytes | None, bytes | None]]
) -> AsyncIterator[StreamEvent]:
    async for key, value in log:
        event = event_of(value) if key == job.encode() and value is not None else None
        if event is not None:
            yield event
            if event.type in TERMINAL:
                return


async def _produce(report: Report, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    out, err = await process.communicate()
    tail = err.decode(errors="replace").strip()[-300:]
    report.check(process.returncode == 0, f"the other process to produce, but it said: {tail}")
    return out.decode().strip()


@asynccontextmanager
async def _log_from_now(
    settings: KafkaSettings,
) -> AsyncIterator[AsyncIterator[tuple[bytes | None, bytes | None]]]:
    """Records of the events topic that are written from here on."""
    consumer = make_tail_consumer(settings, EVENTS.name, client_id="penstock-demo")
    await consumer.start()
    try:
        await consumer.seek_to_end()
        for place in consumer.assignment():
            await consumer.position(place)

        async def records() -> AsyncIterator[tuple[bytes | None, bytes | None]]:
            while True:
                # Never cancel `getone`: aiokafka then believes for ever that somebody fetches.
                for batch in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for record in batch:
                        yield record.key, record.value

        yield records()
    finally:
        await consumer.stop()
