"""Reads `ai.dead.v1` in passes, with memory for places only: letters are never collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from penstock_contracts.dead import Resolution, ResolutionKind, read_resolution
from penstock_contracts.topics import DEAD
from penstock_kit.errors import PenstockError, Retryable
from penstock_kit.kafka.admin import TopicsUnavailable
from penstock_kit.kafka.ports import Record
from penstock_kit.kafka.scan import LogScan

from penstock.operating.dlq.letters import Letter, LetterFilter, Place, read_letter

__all__ = ["DeadLetterBox", "NoLetter", "Selection", "Survey"]

_MAX_SUMS = 1000
"""Codes are a bounded set of ours; letters that somebody else wrote must not fill the memory."""


class NoLetter(PenstockError):
    """There is no letter at these coordinates; the message names the command that lists all."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the box held at one moment: later letters are left for the next time.

    So redriving ends, also where redriven jobs die at once and write new letters.
    """

    resolved: dict[Place, ResolutionKind] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)

    def holds(self, place: Place) -> bool:
        """Whether the letter was there."""
        return place.offset < self.ends.get(place.partition, 0)


@dataclass(frozen=True, slots=True)
class Selection:
    """The letters that are meant.

    Attributes:
        sums: how many there are by reason and code, those beyond the limit too.
        places: of at most as many as the limit says.
    """

    sums: dict[tuple[str, str], int]
    places: frozenset[Place]

    @property
    def total(self) -> int:
        """How many fit the filter, those beyond the limit too."""
        return sum(self.sums.values())


class DeadLetterBox:
    """All dead letters of a deployment."""

    def __init__(self, scan: LogScan) -> None:
        self._scan = scan

    async def survey(self) -> Survey:
        """One pass over the topic: where it ends, and which letters are resolved.

        Raises:
            TopicsUnavailable: no broker answers.
        """
        survey = Survey()
        async for record in self._records():
            survey.ends[record.partition] = record.offset + 1
            resolution = read_resolution(record.headers)
            if resolution is None:
                continue
            place = Place(resolution.partition, resolution.offset)
            if _is_behind(record, place):
                survey.resolved.setdefault(place, resolution.kind)
        return survey

    async def select(
        self, survey: Survey, wanted: LetterFilter, *, limit: int | None = None
    ) -> Selection:
        """One pass: the letters that are meant, counted.

        Raises:
            TopicsUnavailable: no broker answers.
        """
        sums: Counter[tuple[str, str]] = Counter()
        places: set[Place] = set()
        async with aclosing(self.letters(survey, wanted)) as letters:
            async for letter in letters:
                key = (letter.dead.reason.value, letter.dead.code)
                sums[key if key in sums or len(sums) < _MAX_SUMS else ("", "others")] += 1
                if limit is None or len(places) < limit:
                    places.add(letter.place)
        return Selection(dict(sums), frozenset(places))

    async def letters(self, survey: Survey, wanted: LetterFilter) -> AsyncGenerator[Letter, None]:
        """The letters that are meant, in order per partition, one at a time.

        Raises:
            TopicsUnavailable: no broker answers.
        """
        async for record in self._records():
            place = Place(record.partition, record.offset)
            if not survey.holds(place) or (
                wanted.places is not None and place not in wanted.places
            ):
                continue
            letter = read_letter(record, resolved=survey.resolved.get(place))
            if letter is not None and wanted.matches(letter):
                yield letter

    async def find(self, place: Place) -> tuple[Letter, Resolution | None]:
        """One letter, and what was done with it.

        Raises:
            NoLetter: there is none at this place.
            TopicsUnavailable: no broker answers.
        """
        letter: Letter | None = None
        resolution: Resolution | None = None
        async for record in self._records():
            if (record.partition, record.offset) == place:
                letter = read_letter(record)
                continue
            found = read_resolution(record.headers)
            is_about = found is not None and (found.partition, found.offset) == place
            if is_about and resolution is None and _is_behind(record, place):
                resolution = found
        if letter is None:
            raise NoLetter(
                f"there is no dead letter at {place}; `penstock dlq list --all` shows all that"
                " the topic still keeps"
            )
        return replace(letter, resolved=resolution.kind if resolution else None), resolution

    async def _records(self) -> AsyncIterator[Record]:
        try:
            async with aclosing(self._scan.batches([DEAD.name])) as batches:
                async for batch in batches:
                    for record in batch.records:
                        yield record
        except Retryable as error:
            raise TopicsUnavailable(
                f"{DEAD.name} cannot be read ({error}); start the stack with `penstock dev up`, or"
                " name your broker with --kafka"
            ) from error


def _is_behind(record: Record, place: Place) -> bool:
    """Whether a resolution stands where one about this letter can stand."""
    return record.partition == place.partition and record.offset > place.offset
