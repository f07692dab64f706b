"""Writes records that can never be handled to `ai.dead.v1`: original bytes and headers, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog
from penstock_contracts.dead import DeadLetter, dead_headers
from penstock_contracts.retries import RetryNote, without_retry_note
from penstock_contracts.topics import DEAD

from penstock_kit.clock import Clock
from penstock_kit.kafka.ports import OutRecord, Producer, Record, RecordRefused
from penstock_kit.lanes.outcomes import Dead
from penstock_kit.lanes.patience import send_patiently
from penstock_kit.telemetry.redaction import Redactor

__all__ = ["DeadLetters"]

log = structlog.get_logger(__name__)

_SHORT_DETAIL: Final = 64


class DeadLetters:
    """The way to the dead letter topic of one process; `by` names it in the letters.

    `redactor` takes secrets out of what a dependency said; one that knows the process's own
    secrets takes those out too, whatever their shape.
    """

    def __init__(
        self,
        producer: Producer,
        *,
        clock: Clock,
        by: str,
        redactor: Redactor | None = None,
        topic: str = DEAD.name,
    ) -> None:
        self._producer = producer
        self._clock = clock
        self._by = by
        self._redactor = redactor or Redactor()
        self.topic = topic

    async def write(self, record: Record, dead: Dead, *, note: RetryNote | None = None) -> None:
        """Return once the letter is acknowledged, however long that takes.

        `note` is that of a record that came by a retry topic: the letter shows the record as it
        was, with its first place.

        A letter that is refused for its size is written again with less of ours, and at last
        without the body, which then stays readable at its source for as long as that keeps it.

        Raises:
            Fatal: the producer is dead; the record's offset must not pass.
            RecordRefused: the topic refuses for another reason than size (it does not exist, no
                right).
        """
        if note is not None:
            record = _as_it_was(record, note)
        letter = self._letter(record, dead)
        short = replace(letter, detail=letter.detail[:_SHORT_DETAIL], answer="")
        tries = (
            self._out(record, dead_headers(letter)),
            self._out(record, [*dead_headers(short), ("penstock_dead_shortened", b"detail")]),
            self._without_body(record, dead_headers(short)),
        )
        for attempt, out in enumerate(tries, start=1):
            try:
                await send_patiently(self._producer, out)
            except RecordRefused as refusal:
                if refusal.code != "record_too_large" or attempt == len(tries):
                    raise
                log.warning("lanes.dead_letter_too_large", topic=record.topic, attempt=attempt)
            else:
                return

    def _letter(self, record: Record, dead: Dead) -> DeadLetter:
        return DeadLetter(
            reason=dead.reason,
            code=dead.code,
            detail=self._redactor.text(dead.detail),
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            at=self._clock.now(),
            by=self._by,
            attempts=dead.attempts,
            answer=self._redactor.text(dead.answer),
        )

    def _out(self, record: Record, added: Sequence[tuple[str, bytes]]) -> OutRecord:
        return OutRecord(self.topic, record.key, record.value, [*record.headers, *added])

    def _without_body(self, record: Record, added: Sequence[tuple[str, bytes]]) -> OutRecord:
        """What remains of a record that outgrew every topic, for example by compression."""
        value = record.value or b""
        return OutRecord(
            self.topic,
            record.key if len(record.key or b"") <= _SHORT_DETAIL else None,
            None,
            [
                *added,
                ("penstock_dead_shortened", b"body"),
                ("penstock_dead_body_bytes", str(len(value)).encode()),
                ("penstock_dead_body_sha256", hashlib.sha256(value).hexdigest().encode()),
            ],
        )


def _as_it_was(record: Record, note: RetryNote) -> Record:
    return replace(
        record,
        topic=note.source,
        partition=note.partition,
        offset=note.offset,
        headers=without_retry_note(record.headers),
    )
