"""Makes the job table anew from the topics, while the system serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from penstock_contracts.catalog import ce_event_type
from penstock_contracts.topics import EVENTS, STATE

from penstock_kit.batches.fold import BATCH_TOPICS, BatchFold
from penstock_kit.clock import Clock
from penstock_kit.errors import Busy, Retryable
from penstock_kit.jobs.coverage import FoldMarks, event_marks
from penstock_kit.jobs.epoch import TableEpoch
from penstock_kit.jobs.facets import MetaRank
from penstock_kit.jobs.fold import JobFold
from penstock_kit.jobs.patches import JobPatch
from penstock_kit.jobs.publishing import StatePublisher
from penstock_kit.jobs.reading import JobRecords
from penstock_kit.kafka.ports import Record, TopicPartition
from penstock_kit.kafka.scan import LogScan

__all__ = ["Progress", "Rebuild", "RebuildReport", "RebuildRunning", "TableLost"]

_VOID = {ce_event_type(kind).encode() for kind in ("queued", "delta", "reset")}
"""Events that tell nothing new of a job whose request and end are known."""


class RebuildRunning(Busy):
    """Another process rebuilds the table; wait for it to finish, it does the same."""


class TableLost(Retryable):
    """Redis was emptied again during the rebuild; begin anew."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is: records read in all, and partitions of the stage not at their end."""

    stage: str
    records: int
    partitions_left: int


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild did."""

    records: int
    jobs: int
    republished: int
    seconds: float


_MAX_KNOWN = 500_000
"""Jobs that are remembered as known, about 300 bytes each; of more all records are decoded."""


@dataclass(slots=True)
class _Tally:
    """What has been read, and what need not be decoded any more.

    The state topic tells of most jobs all that is to be known. `asked` and `ended` are those (keys
    of their records) of which it told the request or the end: their requests, hints and pieces of
    output add nothing; a stream of such a job is resumed by a snapshot. `folded` are the places of
    starts and ends that went into those states. That is nearly all of the log.
    """

    records: int = 0
    republished: int = 0
    jobs: set[bytes] = field(default_factory=set)
    asked: set[bytes] = field(default_factory=set)
    ended: set[bytes] = field(default_factory=set)
    folded: set[tuple[int, int]] = field(default_factory=set)

    def learn(self, patches: Sequence[JobPatch]) -> None:
        for patch in patches:
            job = patch.job.encode()
            self.jobs.add(job)
            if patch.state_offset is None or len(self.asked) >= _MAX_KNOWN:
                continue
            facets = patch.facets
            if facets.meta is None or facets.meta.rank != MetaRank.REQUEST:
                continue
            self.asked.add(job)
            if facets.ending is not None:
                self.ended.add(job)
                self.folded.update((start.partition, start.offset) for start in facets.starts)
                self.folded.update((end.partition, end.offset) for end in facets.endings)

    def is_known(self, record: Record) -> bool:
        if record.topic == STATE.name:
            return False
        if record.topic != EVENTS.name:
            return _header(record, "ce_subject") in self.asked
        if record.key not in self.ended:
            return False
        is_folded = (record.partition, record.offset) in self.folded
        return is_folded or _header(record, "ce_type") in _VOID


class Rebuild:
    """Folds the state topic, then requests, then events: each adds to what is known.

    Idempotent, and safe beside recorders that go on folding: everything joins, nothing is deleted.
    """

    def __init__(
        self,
        *,
        scan: LogScan,
        records: JobRecords,
        fold: JobFold,
        publisher: StatePublisher,
        epoch: TableEpoch,
        marks: FoldMarks,
        clock: Clock,
        request_topics: Sequence[str],
        batches: BatchFold | None = None,
    ) -> None:
        """Without `batches` files and batches are left out."""
        self._scan = scan
        self._batches = batches
        self._records = records
        self._fold = fold
        self._publisher = publisher
        self._epoch = epoch
        self._marks = marks
        self._clock = clock
        self._stages = (
            ("states", (STATE.name,)),
            ("requests", tuple(request_topics)),
            ("events", (EVENTS.name,)),
        )

    async def run(
        self, owner: str, progress: Callable[[Progress], None] = lambda _: None
    ) -> RebuildReport:
        """Rebuild all; `owner` is unique to this process.

        Raises:
            RebuildRunning: another process is at it.
            TableLost: Redis was emptied meanwhile.
            TableAway: Redis does not answer.
            Retryable: the broker does not answer.
        """
        if not await self._epoch.claim(owner):
            raise RebuildRunning("another process rebuilds the table; wait until it has finished")
        began = self._clock.monotonic()
        tally = _Tally()
        try:
            for stage, topics in self._stages:
                ends: Mapping[TopicPartition, int] = {}
                async with aclosing(self._scan.batches(topics)) as batches:
                    async for batch in batches:
                        await self._take(batch.records, tally)
                        progress(Progress(stage, tally.records, batch.left))
                        _require_held(await self._epoch.renew(owner))
                        ends = batch.ends
                await self._marks.note(event_marks(ends))
            if self._batches is not None:
                await self._take_batches(self._batches, owner, tally)
            _require_held(await self._epoch.finish(owner))
        except BaseException:
            await self._release(owner)
            raise
        seconds = self._clock.monotonic() - began
        return RebuildReport(tally.records, len(tally.jobs), tally.republished, seconds)

    async def _take(self, records: list[Record], tally: _Tally) -> None:
        patches = _newest(self._records.patches(records, is_known=tally.is_known))
        changed = await self._fold.fold(patches, repair=True)
        tally.republished += await self._publisher.publish(changed)
        tally.records += len(records)
        tally.learn(patches)

    async def _take_batches(self, fold: BatchFold, owner: str, tally: _Tally) -> None:
        for topic in BATCH_TOPICS:
            async with aclosing(self._scan.batches((topic,))) as batches:
                async for batch in batches:
                    await fold.take(batch.records)
                    tally.records += len(batch.records)
                    _require_held(await self._epoch.renew(owner))

    async def _release(self, owner: str) -> None:
        try:
            await self._epoch.release(owner)
        except Busy:
            return  # the lock runs out by itself


def _require_held(is_held: bool) -> None:  # noqa: FBT001 - the answer of Redis as it is
    if not is_held:
        raise TableLost("Redis was emptied during the rebuild; it begins anew")


def _header(record: Record, name: str) -> bytes | None:
    return next((raw for known, raw in record.headers if known == name), None)


def _newest(patches: list[JobPatch]) -> list[JobPatch]:
    """Of several states of a job in one batch the last: it knows all that the others do."""
    newest = {patch.job: patch for patch in patches if patch.state_offset is not None}
    others = [patch for patch in patches if patch.state_offset is None]
    return [*newest.values(), *others]
