"""A group member on librdkafka's synchronous consumer, driven by one thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import confluent_kafka
import orjson
import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message

from penstock_kit.errors import Retryable
from penstock_kit.kafka.errors import consumer_fault, is_beyond_repair
from penstock_kit.kafka.factory import Pace, make_consumer
from penstock_kit.kafka.ports import Assignment, BrokerFault, Record, TopicPartition
from penstock_kit.kafka.unreadable import headers_of
from penstock_kit.settings import KafkaSettings

__all__ = ["GroupConsumer"]

log = structlog.get_logger(__name__)

_COMMITTED_TIMEOUT_S: Final = 5.0
_COMMITTED_TRIES: Final = 3
_COMMIT_RETRY_S: Final = 0.5
"""Pause before a refused background commit is sent again."""
_STATISTICS_EVERY_MS: Final = 5000
"""How often the client tells when each broker was last heard; an idle member hears one at least
every five seconds (heartbeats), so that 15 s of silence are never an accident."""
_GATHER_S: Final = {Pace.PROMPT: 0.0, Pace.BATCH: 0.01}
"""How long `poll` goes on after the first record: an answer of the broker comes in one piece per
partition, and a batch for each costs more than waiting for all."""
_UNKNOWN: Final = -1
_WAKE_TIMEOUT_S: Final = 0.5
_END_OF_LOG: Final = -1


class GroupConsumer:
    """Implements the port `Consumer` on `confluent_kafka.Consumer`, for both rebalance protocols.

    The thread that calls `poll` owns it: no method may run beside another.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        *,
        client_id: str = "penstock",
        pace: Pace = Pace.PROMPT,
    ) -> None:
        self._group = group
        self._gather_s = _GATHER_S[pace]
        self._client = make_consumer(
            settings,
            group,
            client_id=client_id,
            pace=pace,
            overrides={
                "error_cb": self._on_error,
                "on_commit": self._on_commit,
                "stats_cb": self._on_statistics,
                "statistics.interval.ms": _STATISTICS_EVERY_MS,
            },
        )
        self._heard_at = time.monotonic()
        self._on_change: Callable[[Assignment], None] = lambda _: None
        self._epoch = 0
        self._owned: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._committed: dict[TopicPartition, int] = {}
        self._refused: dict[TopicPartition, int] = {}
        self._retry_commits_at = 0.0
        self._fault: BrokerFault | None = None
        self._is_closed = False

    def subscribe(self, topics: Sequence[str], on_change: Callable[[Assignment], None]) -> None:
        """Join the group; topics that do not exist yet are picked up when they appear."""
        self._on_change = on_change
        self._client.subscribe(
            list(topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def poll(self, timeout_s: float, max_records: int) -> list[Record]:
        """Wait for the first record with `poll`, take what else is at hand with `consume`.

        `consume` alone would wait for all n records or its whole time-out.
        """
        first = self._client.poll(timeout_s)
        self._raise_fault()
        if self._refused and time.monotonic() >= self._retry_commits_at:
            self._commit_refused_again()
        if first is None:
            return []
        messages = [first]
        if max_records > 1:
            messages += self._client.consume(max_records - 1, self._gather_s)
            self._raise_fault()
        return [record for message in messages if (record := self._record_of(message)) is not None]

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop fetching; partitions that are not ours are ignored."""
        ours = [place for place in partitions if place in self._owned]
        self._paused.update(ours)
        if ours:
            self._client.pause(_native(ours))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch again from the position after the last record handed out."""
        ours = [place for place in partitions if place in self._paused]
        self._paused.difference_update(ours)
        if ours:
            self._client.resume(_native(ours))

    def commit(
        self,
        offsets: dict[TopicPartition, int],
        *,
        wait: bool,
        notes: Mapping[TopicPartition, str] = {},
    ) -> None:
        """Commit offsets of partitions that are ours.

        Others are left out: somebody else counts there now.

        Without `wait`, what the broker refuses is sent again by a later `poll`, unless newer
        offsets follow.
        """
        ours = {place: offset for place, offset in offsets.items() if place in self._owned}
        for place in ours:
            self._refused.pop(place, None)
        if not ours:
            return
        native = [
            confluent_kafka.TopicPartition(*place, offset, notes.get(place, ""))
            for place, offset in ours.items()
        ]
        try:
            if wait:
                answers = self._client.commit(offsets=native, asynchronous=False) or []
                self._note_commits(answers)
                self._raise_refusals(answers)
            else:
                self._client.commit(offsets=native, asynchronous=True)
        except KafkaException as error:
            raise _commit_error(error) from error

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """What the broker is known to hold of partitions that are ours; -1 where nothing."""
        return {place: self._committed.get(place, _UNKNOWN) for place in partitions}

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """High watermarks of the last fetch responses."""
        ends = {}
        for place in partitions:
            _, high = self._client.get_watermark_offsets(
                confluent_kafka.TopicPartition(*place), cached=True
            )
            ends[place] = max(high, _UNKNOWN)
        return ends

    def unheard_s(self) -> float:
        """Since the last bytes of any broker, by the client's own statistics."""
        return time.monotonic() - self._heard_at

    def close(self) -> None:
        """Leave the group; revocations are announced before."""
        if self._is_closed:
            return
        self._is_closed = True
        self._client.close()

    def _on_assign(
        self, client: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]
    ) -> None:
        if not partitions:
            client.incremental_assign([])
            self._wake_fetchers(client)
            return
        committed = self._committed_by(client, partitions)
        positions = {place: offset for place, (offset, _) in committed.items()}
        for partition in partitions:
            place = TopicPartition(partition.topic, partition.partition)
            if positions[place] >= 0:  # else the committed offset, by way of auto.offset.reset
                partition.offset = positions[place]
        client.incremental_assign(partitions)
        self._owned.update(positions)
        self._committed.update(positions)
        if self._paused:  # a rebalance may resume what stays
            client.pause(_native(self._paused))
        self._epoch += 1
        notes = {place: note for place, (_, note) in committed.items() if note}
        self._on_change(Assignment(self._epoch, added=positions, notes=notes))
        self._wake_fetchers(client)

    def _committed_by(
        self, client: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]
    ) -> dict[TopicPartition, tuple[int, str]]:
        """Committed offsets and notes of whoever had the partitions before.

        Without them nobody could tell which records were begun by others.
        """
        for tries_left in reversed(range(_COMMITTED_TRIES)):
            try:
                answer = client.committed(partitions, timeout=_COMMITTED_TIMEOUT_S)
            except KafkaException as error:
                log.warning("kafka.committed_unread", group=self._group, error=str(error))
                if not tries_left:
                    self._fault = BrokerFault(
                        f"group {self._group!r} cannot read its committed offsets: {error}; "
                        "the process must restart to take its partitions safely"
                    )
            else:
                return {
                    TopicPartition(one.topic, one.partition): (
                        max(one.offset, _UNKNOWN),
                        one.metadata or "",
                    )
                    for one in answer
                }
        return {TopicPartition(one.topic, one.partition): (_UNKNOWN, "") for one in partitions}

    def _wake_fetchers(self, client: confluent_kafka.Consumer) -> None:
        """End the rest of partitions that stay.

        Every rebalance pauses all of them, and librdkafka does not tell the threads that fetch
        when they may go on: they sleep for another 100 ms, unless they have something to send.
        So they get the cheapest request there is. Its answer is of no interest.
        """
        staying = [
            confluent_kafka.TopicPartition(*place, _END_OF_LOG)
            for place in self._owned
            if place not in self._paused
        ]
        if staying:
            with contextlib.suppress(KafkaException):
                client.offsets_for_times(staying, timeout=_WAKE_TIMEOUT_S)

    def _on_revoke(
        self, client: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]
    ) -> None:
        self._give_up(partitions, lost=False)
        if not self._is_closed:
            client.incremental_unassign(partitions)
            self._wake_fetchers(client)

    def _on_lost(
        self, client: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]
    ) -> None:
        self._give_up(partitions, lost=True)
        if not self._is_closed:
            client.incremental_unassign(partitions)

    def _give_up(self, partitions: list[confluent_kafka.TopicPartition], *, lost: bool) -> None:
        places = frozenset(TopicPartition(one.topic, one.partition) for one in partitions)
        self._epoch += 1
        if lost:  # commits would be refused, or worse: taken
            self._owned -= places
        self._on_change(Assignment(self._epoch, revoked=places, lost=lost))
        self._owned -= places
        self._paused -= places
        for place in places:
            self._committed.pop(place, None)
            self._refused.pop(place, None)

    def _on_commit(
        self, error: KafkaError | None, partitions: list[confluent_kafka.TopicPartition]
    ) -> None:
        if error is None:
            self._note_commits(partitions)
            return
        log.warning("kafka.commit_refused", group=self._group, code=error.name(), error=error.str())
        for one in partitions:
            self._note_refusal(one)

    def _note_commits(self, partitions: Iterable[confluent_kafka.TopicPartition]) -> None:
        for one in partitions:
            place = TopicPartition(one.topic, one.partition)
            if one.error is not None:
                self._note_refusal(one)
            elif place in self._owned:
                self._committed[place] = max(one.offset, self._committed.get(place, _UNKNOWN))

    def _raise_refusals(self, answers: Iterable[confluent_kafka.TopicPartition]) -> None:
        for one in answers:
            if one.error is not None:
                raise _commit_error(KafkaException(one.error))

    def _note_refusal(self, one: confluent_kafka.TopicPartition) -> None:
        place = TopicPartition(one.topic, one.partition)
        if place in self._owned and one.offset > self._committed.get(place, _UNKNOWN):
            self._refused[place] = max(one.offset, self._refused.get(place, _UNKNOWN))
            self._retry_commits_at = time.monotonic() + _COMMIT_RETRY_S

    def _commit_refused_again(self) -> None:
        offsets, self._refused = self._refused, {}
        try:
            self.commit(offsets, wait=False)
        except Retryable:
            self._refused = offsets
            self._retry_commits_at = time.monotonic() + _COMMIT_RETRY_S

    def _on_statistics(self, statistics: str) -> None:
        brokers = orjson.loads(statistics)["brokers"].values()
        idle_us = [broker["rxidle"] for broker in brokers if broker["rxidle"] >= 0]
        if idle_us:
            self._heard_at = max(self._heard_at, time.monotonic() - min(idle_us) / 1e6)

    def _on_error(self, error: KafkaError) -> None:
        if is_beyond_repair(error):
            self._fault = consumer_fault(error)
        else:
            log.debug("kafka.consumer_trouble", code=error.name(), error=error.str())

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _record_of(self, message: Message) -> Record | None:
        error = message.error()
        if error is None:
            kind, timestamp_ms = message.timestamp()
            return Record(
                message.topic(),  # type: ignore[arg-type] # set on every message without an error
                message.partition(),  # type: ignore[arg-type] # the same
                message.offset(),  # type: ignore[arg-type] # the same
                message.key(),
                message.value(),
                headers_of(message),
                timestamp_ms,
                kind == TIMESTAMP_LOG_APPEND_TIME,
            )
        if is_beyond_repair(error):
            raise consumer_fault(error)
        log.warning("kafka.consumer_trouble", code=error.name(), error=error.str())
        return None


def _native(places: Iterable[TopicPartition]) -> list[confluent_kafka.TopicPartition]:
    return [confluent_kafka.TopicPartition(*place) for place in places]


def _commit_error(error: KafkaException) -> Exception:
    cause: KafkaError = error.args[0]
    if is_beyond_repair(cause):
        return consumer_fault(cause)
    return Retryable(f"the offsets were not committed: {cause.str()}; commit again or let go")
