"""Faust: an agent with `concurrency`, its way to have many messages at work."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile

import faust
from recording import Recording, read_order

order = read_order()
recording = Recording(order)
app = faust.App(
    order.group,
    broker=f"kafka://{order.bootstrap}",
    store="memory://",
    datadir=tempfile.mkdtemp(prefix="faust-"),
    topic_disable_leader=True,
    web_enabled=False,
    stream_buffer_maxsize=max(4096, order.concurrency),
    consumer_auto_offset_reset="earliest",
    broker_commit_interval=0.5,
    loop=None,
)
topic = app.topic(order.topic, value_type=bytes, value_serializer="raw", key_serializer="raw")


@app.agent(topic, concurrency=order.concurrency)
async def work(stream: faust.StreamT[bytes]) -> None:
    async for value in stream:
        index, work_s = recording.begin(value)
        if work_s:
            await asyncio.sleep(work_s)
        if recording.end(index):
            recording.save()
            os._exit(0)


sys.argv = ["faust", "worker", "-l", "error", "--without-web"]
app.main()
