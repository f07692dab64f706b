"""How much consumer groups have before them: end offsets against what is finished, every second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from confluent_kafka import KafkaException

from penstock_kit.kafka.offsets import Commit, OffsetReader, Place
from penstock_kit.lanes.notes import decode_note
from penstock_kit.settings import KafkaSettings

__all__ = ["GroupLag", "LagPoller"]

log = structlog.get_logger(__name__)

_METADATA_EVERY_S: Final = 60.0
"""New partitions are counted after a minute at the latest."""
_STOP_S: Final = 10.0
"""More than a question that is not answered takes."""


@dataclass(frozen=True, slots=True)
class GroupLag:
    """Records that are not finished as far as the group has committed, by group and topic.

    Records that are being handled are in it. Finished ones that wait for an earlier offset are not,
    where the note beside the commit tells of them; those that it has no room for are.

    Attributes:
        asked_at: monotonic seconds when the question began: what was written later may be missing.
    """

    asked_at: float
    records: Mapping[str, Mapping[str, int]]


class LagPoller:
    """A Part: one thread with a client per group, which need DESCRIBE on the groups and topics.

    `on_lag` and `on_failure` run on the event loop. Topics that do not exist count as empty; a
    partition without a committed offset is behind by all that it holds.

    `shared` topics hold records of several groups, each of which skips what is not its own. Without
    reading them nobody knows whose they are: a group that waits for an own record there is behind
    by all that came after it. One that has never committed anything in such a topic has nothing
    there.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        groups: Mapping[str, Sequence[str]],
        *,
        on_lag: Callable[[GroupLag], None],
        on_failure: Callable[[], None],
        shared: Collection[str] = (),
        every: timedelta = timedelta(seconds=1),
    ) -> None:
        self._settings = settings
        self._groups = groups
        self._on_lag = on_lag
        self._on_failure = on_failure
        self._shared = frozenset(shared)
        self._every_s = every.total_seconds()
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._partitions: list[Place] = []
        self._partitions_until = 0.0
        self._finished: dict[tuple[str, Place], tuple[Commit, int]] = {}
        self._is_failing = False

    async def start(self) -> None:
        """Begin to ask; the first answer comes on its own time."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="lag", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; works twice and unstarted."""
        self._is_stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join, _STOP_S)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        readers = {
            group: OffsetReader(self._settings, group=group, client_id="penstock-lag")
            for group in self._groups
        }
        while not self._is_stopping.is_set():
            began = time.monotonic()
            try:
                lag = GroupLag(began, self._ask(readers))
            except KafkaException as error:
                self._failed(error)
                self._tell(loop, self._on_failure)
            else:
                if self._is_failing:
                    log.info("lag.restored")
                self._is_failing = False
                self._tell(loop, lambda lag=lag: self._on_lag(lag))  # type: ignore[misc]  # a default binds the value
            self._is_stopping.wait(max(0.0, began + self._every_s - time.monotonic()))
        for reader in readers.values():
            reader.close()

    def _tell(self, loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
        if not self._is_stopping.is_set():
            loop.call_soon_threadsafe(what)

    def _failed(self, error: Exception) -> None:
        self._partitions_until = 0.0
        if not self._is_failing:
            # Once, not every second; the metric counts on.
            log.warning("lag.unknown", error=type(error).__name__, reason=str(error)[:300])
        self._is_failing = True

    def _ask(self, readers: Mapping[str, OffsetReader]) -> dict[str, dict[str, int]]:
        reader = next(iter(readers.values()))
        self._refresh(reader)
        ends = reader.latest(self._partitions)
        return {
            group: self._behind(group, readers[group], topics, ends)
            for group, topics in self._groups.items()
        }

    def _behind(
        self, group: str, reader: OffsetReader, topics: Sequence[str], ends: Mapping[Place, int]
    ) -> dict[str, int]:
        places = [place for place in self._partitions if place[0] in topics]
        commits = reader.committed(places)
        foreign = self._shared - {topic for topic, _ in commits}
        unread = [
            place
            for place in places
            if place not in commits and ends[place] and place[0] not in foreign
        ]
        done = {place: self._done(group, place, commit) for place, commit in commits.items()}
        done |= reader.earliest(unread)
        records = dict.fromkeys(topics, 0)
        for place, count in done.items():
            records[place[0]] += max(0, ends[place] - count)
        return records

    def _done(self, group: str, place: Place, commit: Commit) -> int:
        """The committed offset, and one more for each finished record beyond it."""
        known = self._finished.get((group, place))
        if known is None or known[0] != commit:  # decoding is dear, and most notes stay for a while
            known = commit, len(decode_note(commit.offset, commit.note))
            self._finished[group, place] = known
        return commit.offset + known[1]

    def _refresh(self, reader: OffsetReader) -> None:
        if time.monotonic() >= self._partitions_until:
            self._partitions = reader.partitions(
                topic for topics in self._groups.values() for topic in topics
            )
            self._partitions_until = time.monotonic() + _METADATA_EVERY_S
