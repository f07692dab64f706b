"""One dead letter as operators see it, and the words that select letters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import NamedTuple

from penstock_contracts.codec import decode_json
from penstock_contracts.dead import (
    DeadLetter,
    DeadReason,
    ResolutionKind,
    original_headers,
    read_dead_letter,
)
from penstock_contracts.envelope import Envelope, Headers, decode_event
from penstock_contracts.errors import ContractError
from penstock_contracts.ids import derived_job_id
from penstock_contracts.retries import read_retry_note
from penstock_contracts.topics import RETRY_DELAYS_S, retry_topic
from penstock_kit.kafka.ports import Record

__all__ = ["Letter", "LetterFilter", "Place", "parse_place", "read_letter"]

_RETRY_TOPICS = frozenset(retry_topic(delay).name for delay in RETRY_DELAYS_S)
_PLACE = re.compile(r"(\d{1,9})/(\d{1,18})", re.ASCII)


class Place(NamedTuple):
    """Where a letter lies in `ai.dead.v1`; operators write `3/17`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A record that died, and what can still be read of it.

    Attributes:
        record: as it lies in `ai.dead.v1`.
        dead: why it died.
        headers: the record's own, as they were.
        envelope: None if the headers form no event.
        data: JSON of the job, or the value as it is where nothing better can be read.
        task: None if the body names none.
        source: the request topic that the record came from, also where it died on a retry.
        resolved: what an operator did with it; None: nothing yet.
    """

    record: Record
    dead: DeadLetter
    headers: Headers
    envelope: Envelope | None
    data: bytes
    task: str | None
    source: str
    resolved: ResolutionKind | None = None

    @property
    def place(self) -> Place:
        """Its coordinates."""
        return Place(self.record.partition, self.record.offset)

    @property
    def is_structured(self) -> bool:
        """Whether its value is a whole CloudEvent with the job's body inside."""
        return any(
            name.lower() == "content-type" and (raw or b"").startswith(b"application/cloudevents")
            for name, raw in self.headers
        )

    @property
    def tenant(self) -> str | None:
        """Whose job it says to be; of a record refused as forged nobody has proved that."""
        return self.envelope.tenant if self.envelope is not None else None

    @property
    def job(self) -> str | None:
        """The job that it belonged to."""
        if self.envelope is None or self.envelope.tenant is None:
            return None
        return self.envelope.subject or derived_job_id(
            tenant=self.envelope.tenant, source=self.envelope.source, event_id=self.envelope.id
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters are meant: those that fit every word that is given.

    `code` and `topic` take `*` and `?`; `since` and `until` are about the moment of death.
    """

    places: frozenset[Place] | None = None
    tenant: str | None = None
    task: str | None = None
    reason: DeadReason | None = None
    code: str | None = None
    topic: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    with_resolved: bool = False

    @property
    def is_everything(self) -> bool:
        """Whether no word narrows it."""
        words = (self.places, self.tenant, self.task, self.reason, self.code, self.topic)
        return all(word is None for word in (*words, self.since, self.until))

    def matches(self, letter: Letter) -> bool:
        """Whether the letter is meant."""
        dead = letter.dead
        return (
            (self.with_resolved or letter.resolved is None)
            and (self.places is None or letter.place in self.places)
            and (self.tenant is None or letter.tenant == self.tenant)
            and (self.task is None or letter.task == self.task)
            and (self.reason is None or dead.reason is self.reason)
            and (self.code is None or fnmatchcase(dead.code, self.code))
            and (self.topic is None or fnmatchcase(letter.source, self.topic))
            and (self.since is None or dead.at >= self.since)
            and (self.until is None or dead.at < self.until)
        )


def parse_place(text: str) -> Place | None:
    """`3/17` as coordinates; None if it is something else."""
    found = _PLACE.fullmatch(text)
    return Place(int(found[1]), int(found[2])) if found else None


def read_letter(record: Record, *, resolved: ResolutionKind | None = None) -> Letter | None:
    """The letter that a record of `ai.dead.v1` is; None if it is none."""
    dead = read_dead_letter(record.headers)
    if dead is None or dead.at.tzinfo is None:
        return None
    headers = original_headers(record.headers)
    envelope, data = _event(headers, record.value)
    return Letter(
        record=record,
        dead=dead,
        headers=headers,
        envelope=envelope,
        data=data,
        task=_task(data),
        source=_source(dead, headers),
        resolved=resolved,
    )


def _event(headers: Headers, value: bytes | None) -> tuple[Envelope | None, bytes]:
    try:
        return decode_event(headers, value)
    except ContractError:
        return None, value or b""


def _task(data: bytes) -> str | None:
    try:
        body = decode_json(data)
    except ContractError:
        return None
    task = body.get("task") if isinstance(body, dict) else None
    return task if isinstance(task, str) else None


def _source(dead: DeadLetter, headers: Headers) -> str:
    """A note counts only on records from retry topics: elsewhere its sender wrote it himself."""
    note = read_retry_note(headers) if dead.topic in _RETRY_TOPICS else None
    return note.source if note is not None else dead.topic
