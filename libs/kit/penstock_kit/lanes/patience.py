"""Writes that must not be given up: a broker that is away for a while is waited for."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from penstock_kit.errors import Busy, Retryable
from penstock_kit.kafka.ports import Ack, OutRecord, Producer

__all__ = ["send_patiently"]

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


async def send_patiently(producer: Producer, out: OutRecord) -> Ack:
    """Return once the record is acknowledged, however long that takes.

    Raises:
        Fatal: the producer is dead.
        RecordRefused: the topic will never take this record.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await producer.send(out)
        except (Busy, Retryable) as error:
            log.warning("lanes.write_delayed", topic=out.topic, error=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
