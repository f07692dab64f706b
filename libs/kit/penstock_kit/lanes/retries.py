"""Moves a record to a retry topic: the original bytes and headers, with a note."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog
from penstock_contracts.retries import RetryNote, retry_headers, without_retry_note

from penstock_kit.clock import Clock
from penstock_kit.kafka.ports import Ack, OutRecord, Producer, Record, RecordRefused
from penstock_kit.lanes.patience import send_patiently
from penstock_kit.lanes.retry_topics import RetryTopics

__all__ = ["Retries"]

log = structlog.get_logger(__name__)


class Retries:
    """The way to the retry topics of one process.

    `on_ack` is told of each acknowledgement, and from when on its record was being sent.
    """

    def __init__(
        self,
        producer: Producer,
        topics: RetryTopics,
        *,
        clock: Clock,
        on_ack: Callable[[Ack, float], None],
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._clock = clock
        self._on_ack = on_ack

    async def write(self, record: Record, note: RetryNote) -> bool:
        """Return once the record is acknowledged in its retry topic, however long that takes.

        False if the topic refuses it: it is too large with its note, or there is no such topic.
        Then it has to wait where it is.

        Raises:
            Fatal: the producer is dead; the record's offset must not pass.
        """
        topic = self._topics.topic_for(timedelta(milliseconds=note.delay_ms))
        headers = [*without_retry_note(record.headers), *retry_headers(note)]
        since = self._clock.monotonic()
        try:
            ack = await send_patiently(
                self._producer, OutRecord(topic, record.key, record.value, headers)
            )
        except RecordRefused as refusal:
            log.warning(
                "lanes.retry_in_place",
                topic=topic,
                code=refusal.code,
                source=note.source,
                offset=record.offset,
                advice="a missing topic is created by `penstock topics apply`",
            )
            return False
        self._on_ack(ack, since)
        return True
