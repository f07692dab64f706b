"""How far consumer groups are behind: committed against end offsets, asked every second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # exported in fact

from penstock_kit.kafka.factory import make_admin
from penstock_kit.settings import KafkaSettings

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

__all__ = ["GroupLag", "LagPoller"]

log = structlog.get_logger(__name__)

_CALL_S: Final = 5.0
_METADATA_EVERY_S: Final = 60.0
"""New partitions are counted after a minute at the latest."""
_STOP_S: Final = 2 * _CALL_S

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class GroupLag:
    """Records behind the committed offset, by group and topic.

    Records that are being handled are in it, and finished ones that wait for an earlier offset.

    Attributes:
        asked_at: monotonic seconds when the question began: what was written later may be missing.
    """

    asked_at: float
    records: Mapping[str, Mapping[str, int]]


class LagPoller:
    """A Part: one thread with one admin client, which needs DESCRIBE on the groups and topics.

    `on_lag` and `on_failure` run on the event loop. Topics that do not exist count as empty; a
    partition without a committed offset is behind by all that it holds.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        groups: Mapping[str, Sequence[str]],
        *,
        on_lag: Callable[[GroupLag], None],
        on_failure: Callable[[], None],
        every: timedelta = timedelta(seconds=1),
    ) -> None:
        self._settings = settings
        self._groups = groups
        self._on_lag = on_lag
        self._on_failure = on_failure
        self._every_s = every.total_seconds()
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._partitions: list[Place] = []
        self._partitions_until = 0.0
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
        client = make_admin(self._settings, client_id="penstock-lag")
        while not self._is_stopping.is_set():
            began = time.monotonic()
            try:
                lag = GroupLag(began, self._ask(client))
            except (KafkaException, TimeoutError) as error:
                self._failed(error)
                self._tell(loop, self._on_failure)
            else:
                if self._is_failing:
                    log.info("lag.restored")
                self._is_failing = False
                self._tell(loop, lambda lag=lag: self._on_lag(lag))  # type: ignore[misc]  # a default binds the value
            self._is_stopping.wait(max(0.0, began + self._every_s - time.monotonic()))

    def _tell(self, loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
        if not self._is_stopping.is_set():
            loop.call_soon_threadsafe(what)

    def _failed(self, error: Exception) -> None:
        self._partitions_until = 0.0
        if not self._is_failing:
            # Once, not every second; the metric counts on.
            log.warning("lag.unknown", error=type(error).__name__, reason=str(error)[:300])
        self._is_failing = True

    def _ask(self, client: AdminClient) -> dict[str, dict[str, int]]:
        self._refresh(client)
        committed = {group: self._committed(client, group) for group in self._groups}
        ends = self._offsets(client, self._partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        unread = {
            place
            for group, topics in self._groups.items()
            for place in self._partitions
            if place[0] in topics and place not in committed[group] and ends.get(place)
        }
        starts = self._offsets(client, sorted(unread), OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        found: dict[str, dict[str, int]] = {}
        for group, topics in self._groups.items():
            records = found[group] = dict.fromkeys(topics, 0)
            for place in self._partitions:
                if place[0] in records and place in ends:
                    read = committed[group].get(place, starts.get(place, 0))
                    records[place[0]] += max(0, ends[place] - read)
        return found

    def _refresh(self, client: AdminClient) -> None:
        if time.monotonic() < self._partitions_until:
            return
        wanted = {topic for topics in self._groups.values() for topic in topics}
        metadata = client.list_topics(timeout=_CALL_S)
        self._partitions = [
            (name, partition)
            for name, topic in metadata.topics.items()
            if name in wanted and topic.error is None
            for partition in topic.partitions
        ]
        self._partitions_until = time.monotonic() + _METADATA_EVERY_S

    def _committed(self, client: AdminClient, group: str) -> dict[Place, int]:
        (future,) = client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=_CALL_S
        ).values()
        places = future.result(_CALL_S).topic_partitions or []
        return {
            (place.topic, place.partition): place.offset for place in places if place.offset >= 0
        }

    def _offsets(
        self, client: AdminClient, places: Sequence[Place], spec: OffsetSpec
    ) -> dict[Place, int]:
        if not places:
            return {}
        futures = client.list_offsets(
            {TopicPartition(*place): spec for place in places}, request_timeout=_CALL_S
        )
        return {
            (place.topic, place.partition): future.result(_CALL_S).offset
            for place, future in futures.items()
        }
