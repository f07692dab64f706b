"""Writes the records that run dead letters again, and notes it only when the broker has them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from penstock_contracts.dead import Resolution, ResolutionKind, resolution_headers
from penstock_contracts.topics import DEAD
from penstock_kit.clock import Clock
from penstock_kit.errors import PenstockError, Rejected
from penstock_kit.kafka.ports import Ack, OutRecord, Producer, ProducerFull

from penstock.operating.dlq.letters import Letter
from penstock.operating.dlq.replacing import CannotRedrive, Replacement, Replacing

__all__ = ["Dropping", "Outcome", "Redriving", "Report", "rehearse"]

_IN_FLIGHT: Final = 64
"""Acknowledgements waited for at once: the pace is the rate's, not the broker's round trip."""
_FULL_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one letter; `refusal` says why nothing did."""

    letter: Letter
    replacement: Replacement | None = None
    refusal: CannotRedrive | None = None


@dataclass(slots=True)
class Report:
    """What became of all.

    Attributes:
        done: letters with an acknowledged resolution.
        refused: letters left as they are, by code.
        trouble: why it ended early; None: it did not.
    """

    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    trouble: PenstockError | None = None


class _Pace:
    """Lets `rate` turns pass per second, evenly; None: as many as come."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._interval_s = 1 / rate if rate else 0.0
        self._clock = clock
        self._next = clock.monotonic()

    async def turn(self) -> None:
        now = self._clock.monotonic()
        if self._next > now:
            await asyncio.sleep(self._next - now)
        self._next = max(self._next, now) + self._interval_s


async def rehearse(
    letters: AsyncIterator[Letter], replacing: Replacing, tell: Callable[[Outcome], None]
) -> Report:
    """What `Redriving.run` would do, letter by letter; writes nothing."""
    report = Report()
    with _noted_trouble(report):
        async for letter in letters:
            outcome = _outcome(letter, replacing)
            if outcome.refusal is not None:
                report.refused[outcome.refusal.code] += 1
            else:
                report.done += 1
            tell(outcome)
    return report


class Redriving:
    """Redrives letters, in their order, several at once.

    Killed at any moment and run again, it runs no job twice: the id of the new job follows from
    the dead one's, and a job that exists is not run again.
    """

    def __init__(
        self,
        *,
        producer: Producer,
        replacing: Replacing,
        clock: Clock,
        by: str,
        rate: float | None,
        tell: Callable[[Outcome], None],
    ) -> None:
        """`rate`: letters per second; `tell` hears of each letter once its fate is known."""
        self._producer = producer
        self._replacing = replacing
        self._clock = clock
        self._by = by
        self._pace = _Pace(rate, clock)
        self._tell = tell

    async def run(self, letters: AsyncIterator[Letter]) -> Report:
        """Redrive them; trouble with the broker ends it, and the report says so.

        What is on its way by then is awaited, and counted.
        """
        report, room = Report(), asyncio.Semaphore(_IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            with _noted_trouble(report):
                await self._each(letters, report, room, group)
        return report

    async def _each(
        self,
        letters: AsyncIterator[Letter],
        report: Report,
        room: asyncio.Semaphore,
        group: asyncio.TaskGroup,
    ) -> None:
        async for letter in letters:
            outcome = _outcome(letter, self._replacing)
            if outcome.refusal is not None:
                report.refused[outcome.refusal.code] += 1
                self._tell(outcome)
                continue
            assert outcome.replacement is not None
            await self._pace.turn()
            await room.acquire()
            if report.trouble is not None:
                break
            group.create_task(self._one(outcome.replacement, report, room), name="redrive")

    async def _one(self, replacement: Replacement, report: Report, room: asyncio.Semaphore) -> None:
        try:
            ack = await _send(self._producer, replacement.record)
            await _send(
                self._producer,
                _resolution_record(
                    replacement.letter,
                    ResolutionKind.REDRIVEN,
                    clock=self._clock,
                    by=self._by,
                    to=f"{ack.topic}/{ack.partition}/{ack.offset}",
                    job=replacement.job,
                ),
            )
        except Rejected as error:
            refusal = CannotRedrive(str(error), code=error.code)
            report.refused[refusal.code] += 1
            self._tell(Outcome(replacement.letter, refusal=refusal))
        except PenstockError as error:
            report.trouble = report.trouble or error
        else:
            report.done += 1
            self._tell(Outcome(replacement.letter, replacement))
        finally:
            room.release()


class Dropping:
    """Marks letters as dropped; they stay in the topic."""

    def __init__(self, *, producer: Producer, clock: Clock, by: str, note: str) -> None:
        self._producer = producer
        self._clock = clock
        self._by = by
        self._note = note

    async def run(self, letters: AsyncIterator[Letter]) -> Report:
        """Drop them; trouble with the broker ends it, and the report says so."""
        report, room = Report(), asyncio.Semaphore(_IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            with _noted_trouble(report):
                async for letter in letters:
                    await room.acquire()
                    if report.trouble is not None:
                        break
                    group.create_task(self._one(letter, report, room), name="drop")
        return report

    async def _one(self, letter: Letter, report: Report, room: asyncio.Semaphore) -> None:
        kind = ResolutionKind.DROPPED
        record = _resolution_record(letter, kind, clock=self._clock, by=self._by, note=self._note)
        try:
            await _send(self._producer, record)
        except PenstockError as error:
            report.trouble = report.trouble or error
        else:
            report.done += 1
        finally:
            room.release()


@contextmanager
def _noted_trouble(report: Report) -> Iterator[None]:
    """Letters that cannot be read to their end are trouble as any other: the report has it."""
    try:
        yield
    except PenstockError as error:
        report.trouble = report.trouble or error


def _outcome(letter: Letter, replacing: Replacing) -> Outcome:
    try:
        return Outcome(letter, replacing.replacement(letter))
    except CannotRedrive as refusal:
        return Outcome(letter, refusal=refusal)


async def _send(producer: Producer, record: OutRecord) -> Ack:
    while True:
        try:
            return await producer.send(record)
        except ProducerFull:
            await asyncio.sleep(_FULL_PAUSE_S)


def _resolution_record(
    letter: Letter,
    kind: ResolutionKind,
    *,
    clock: Clock,
    by: str,
    to: str = "",
    job: str = "",
    note: str = "",
) -> OutRecord:
    resolution = Resolution(
        kind=kind,
        partition=letter.place.partition,
        offset=letter.place.offset,
        at=clock.now(),
        by=by,
        to=to,
        job=job,
        note=note,
    )
    return OutRecord(
        DEAD.name,
        letter.record.key,
        None,
        resolution_headers(resolution),
        partition=letter.place.partition,
    )
