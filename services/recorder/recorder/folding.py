"""One batch of records: read, fold, hand on what is to be published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from penstock_kit.batches.fold import BATCH_TOPICS, BatchFold
from penstock_kit.clock import Clock
from penstock_kit.errors import Rejected
from penstock_kit.jobs.coverage import FoldMarks, event_marks
from penstock_kit.jobs.fold import Changed, JobFold
from penstock_kit.jobs.patches import JobPatch
from penstock_kit.jobs.reading import JobRecords
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.ports import Record, TopicPartition

from recorder.metrics import RecorderMetrics
from recorder.state_rounds import StateRounds

__all__ = ["Folding", "note_skips"]

log = structlog.get_logger(__name__)

Ends = dict[TopicPartition, int]

_PAUSE_S = 0.2
"""Between tries while Redis is away: short, for clients wait for their jobs to show up."""


class Folding:
    """Takes batches one after another; publishing goes on behind, the next batch need not wait."""

    def __init__(
        self,
        *,
        records: JobRecords,
        fold: JobFold,
        batches: BatchFold,
        marks: FoldMarks,
        rounds: StateRounds,
        metrics: RecorderMetrics,
        clock: Clock,
    ) -> None:
        self._records = records
        self._fold = fold
        self._batches = batches
        self._marks = marks
        self._rounds = rounds
        self._metrics = metrics
        self._clock = clock
        self._is_away = False

    @property
    def trouble(self) -> str | None:
        """Why folding waits, or None."""
        if self._is_away:
            return "Redis does not answer; nothing is lost, but new jobs do not show up: mend Redis"
        return None

    async def take(self, records: Sequence[Record]) -> asyncio.Task[None]:
        """Return when Redis has the batch; the task ends when the state topic has it too."""
        began = self._clock.monotonic()
        of_batches = [record for record in records if record.topic in BATCH_TOPICS]
        if of_batches:
            records = [record for record in records if record.topic not in BATCH_TOPICS]
        patches = self._records.patches(records)
        changed = await self._fold_at_last(patches, _ends(records), of_batches)
        self._measure(records, began)
        return self._rounds.add(changed, patches)

    async def _fold_at_last(
        self, patches: list[JobPatch], ends: Ends, of_batches: Sequence[Record]
    ) -> list[Changed]:
        while True:
            try:
                await self._batches.take(of_batches)
                changed = await self._fold.fold(patches)
                await self._marks.note(event_marks(ends))
            except TableAway as error:
                if not self._is_away:
                    log.warning("redis.away", error=str(error))
                self._is_away = True
                self._metrics.redis_away.inc()
                await asyncio.sleep(_PAUSE_S)
            else:
                if self._is_away:
                    log.info("redis.back")
                self._is_away = False
                return changed

    def _measure(self, records: Sequence[Record], began: float) -> None:
        self._metrics.fold_seconds.observe(self._clock.monotonic() - began)
        self._metrics.records.labels("read").inc(len(records))
        newest_ms = max((record.timestamp_ms for record in records), default=-1)
        if newest_ms >= 0:
            age_s = self._clock.now().timestamp() - newest_ms / 1000
            self._metrics.age_seconds.observe(max(age_s, 0))


def _ends(records: Sequence[Record]) -> Ends:
    return {record.place: record.offset + 1 for record in records}


def note_skips(metrics: RecorderMetrics) -> Callable[[Record, Rejected], None]:
    """Counts records that tell nothing and logs where they lie, never what they say."""

    def note(record: Record, error: Rejected) -> None:
        metrics.records.labels("skipped").inc()
        metrics.skipped.labels(error.code).inc()
        log.info(
            "record.skipped",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            code=error.code,
            field=error.field,
        )

    return note
