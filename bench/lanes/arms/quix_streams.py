"""Quix Streams: one message after another, its only way; for work that takes no time."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

from quixstreams import Application
from recording import Recording, read_order

order = read_order()
recording = Recording(order)
app = Application(
    broker_address=order.bootstrap,
    consumer_group=order.group,
    auto_offset_reset="earliest",
    state_dir=tempfile.mkdtemp(prefix="quix-"),
    loglevel=logging.ERROR,
)
frame = app.dataframe(app.topic(order.topic, value_deserializer="bytes", key_deserializer="bytes"))


def work(value: Any) -> None:
    if recording.end(recording.begin(value)[0]):
        app.stop()


frame = frame.update(work)
app.run()
recording.save()
