"""The live reader of `ai.jobs.events.v1`: all partitions, no group, straight to subscribers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from penstock_contracts.catalog import CE_DELETED
from penstock_contracts.ids import JobIds
from penstock_contracts.topics import EVENTS

from penstock_kit.clock import Clock
from penstock_kit.jobs.issued import may_belong
from penstock_kit.kafka.factory import make_tail_consumer
from penstock_kit.settings import KafkaSettings
from penstock_kit.tail.fetch_pace import FetchPace
from penstock_kit.tail.hub import EventHub, Sink, Subscription
from penstock_kit.tail.metrics import TailMetrics
from penstock_kit.tail.ring import EventRing
from penstock_kit.tail.settings import TailSettings
from penstock_kit.tail.tailed import MalformedEvent, TailedEvent, read_event
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.tenancy import TenantScope

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord

__all__ = ["EventTail", "TailedEvent"]

log = structlog.get_logger(__name__)

_DELETED: Final = CE_DELETED.encode()
_POLL_MS: Final = 500
"""Longest wait of one `getmany`; data ends the wait at once. It bounds how long `stop` takes."""
_BATCH: Final = 500
"""Records handed on before the loop gets its turn: about 5 ms of work."""
_PROBE_S: Final = 3.0
"""Between two questions to the broker where the log ends."""
_BROKER_SILENCE_S: Final = 15.0
"""Without an answer for this long the tail says that it is unwell."""
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between attempts to connect; the last repeats."""
_STOP_S: Final = 5.0
"""aiokafka's `stop` can freeze (aio-libs/aiokafka#773): then the client is left to the exit."""


class EventTail:
    """A Part: hands every job event to local subscribers as soon as the broker has it.

    It starts `lookback` before now and keeps a bounded ring, so that a stream can be resumed here
    right after a restart. It survives broker restarts: a client that makes no progress while there
    is something to read is replaced by a new one at the same offsets. Implements `LiveEvents`.

    With `ids`, events about a job that was issued for another tenant are counted and skipped.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        tail: TailSettings,
        *,
        clock: Clock,
        metrics: Metrics,
        topic: str = EVENTS.name,
        watcher: Sink | None = None,
        ids: JobIds | None = None,
    ) -> None:
        self._ids = ids
        self._kafka = kafka
        self._settings = tail
        self._clock = clock
        self._topic = topic
        self._metrics = TailMetrics(metrics)
        self._ring = EventRing(max_events=tail.ring_events, max_bytes=tail.ring_bytes)
        self._hub = EventHub(self._ring, self._metrics, watcher=watcher)
        self._next: dict[TopicPartition, int] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._is_stuck = False
        self._turn = asyncio.Event()
        self._turn_at = self._progress_at = self._answer_at = clock.monotonic()
        self._pace = FetchPace(self._turn_at)

    async def start(self) -> None:
        """Return when the newest record is read, or after `catch_up`; waits for the broker."""
        self._consumer = await self._connect()
        ends = await self._consumer.end_offsets(list(self._next))
        self._answered()
        self._tasks = [
            asyncio.create_task(self._read(), name="tail read"),
            asyncio.create_task(self._watch(), name="tail watch"),
        ]
        await self._caught_up(ends)
        log.info("tail.started", topic=self._topic, partitions=len(ends), kept=len(self._ring))

    async def stop(self) -> None:
        """Let the running read return, then close the client; works twice and unstarted."""
        self._is_stopping = True
        tasks, self._tasks = self._tasks, []
        if tasks:
            reading, watching = tasks
            watching.cancel()
            await asyncio.wait({reading, watching}, timeout=2 * _POLL_MS / 1000)
            reading.cancel()  # only if it was still looking for the broker
        await self._close()

    def problem(self) -> str | None:
        """Why live events may be late, or None: a check for `Health`."""
        now = self._clock.monotonic()
        if self._consumer is None:
            return (
                "the live reader is not connected to Kafka; "
                "check PENSTOCK_KAFKA__BOOTSTRAP and the brokers"
            )
        if now - self._answer_at > _BROKER_SILENCE_S:
            silence = f"{now - self._answer_at:.0f} s"
            return f"Kafka has not answered the live reader for {silence}; look at the brokers"
        return None

    def hang(self) -> str | None:
        """Why only a restart can help, or None: a liveness check."""
        silence = self._clock.monotonic() - self._turn_at
        limit = 4 * self._settings.stuck_after / timedelta(seconds=1)
        if self._tasks and silence > limit:
            return (
                f"the live reader has not taken its turn for {silence:.0f} s; restart this process"
            )
        return None

    def subscribe(self, scope: TenantScope, job: str, sink: Sink) -> Subscription:
        """See `LiveEvents.subscribe`."""
        return self._hub.subscribe(scope, job, sink)

    def subscribe_scope(self, scope: TenantScope, sink: Sink) -> Subscription:
        """See `LiveEvents.subscribe_scope`."""
        return self._hub.subscribe_scope(scope, sink)

    def recent(self, scope: TenantScope, job: str) -> list[TailedEvent]:
        """See `LiveEvents.recent`."""
        return self._hub.recent(scope, job)

    def owner(self, tenant: str, job: str) -> TenantScope | None:
        """See `LiveEvents.owner`."""
        return self._hub.owner(tenant, job)

    async def _caught_up(self, ends: dict[TopicPartition, int]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.catch_up / timedelta(seconds=1)):
                while self._behind(ends):
                    self._turn.clear()
                    await self._turn.wait()

    async def _read(self) -> None:
        while not self._is_stopping:
            if self._consumer is None or self._is_stuck:
                await self._rebuild()
                continue
            try:
                batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
            except KafkaError as error:
                log.warning("tail.read_failed", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S[0])
                continue
            self._turn_at = self._clock.monotonic()
            self._turn.set()
            self._pace.steer(
                self._consumer,
                sum(map(len, batches.values())),
                self._turn_at,
                has_listeners=self._hub.has_listeners,
            )
            for place, records in batches.items():
                self._hand_on(place, records)
            if batches:
                self._progress_at = self._answer_at = self._turn_at
                self._metrics.ring_bytes.set(self._ring.size_bytes)
                await asyncio.sleep(0)  # a full log must not keep sockets from their turn

    def _hand_on(self, place: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            if ("ce_type", _DELETED) in record.headers:
                self._forget(record)  # about a job's content, no part of its stream
                continue
            try:
                event = read_event(record.key, record.headers, record.value)
            except MalformedEvent as error:
                self._metrics.malformed.labels(error.code).inc()
                continue
            if self._ids is not None and not may_belong(self._ids, event.job, event.tenant):
                self._metrics.malformed.labels("foreign_job").inc()
                continue
            self._hub.feed(event)
        self._metrics.events.inc(len(records))
        self._next[place] = records[-1].offset + 1

    def _forget(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        job = (record.key or b"").decode(errors="replace")
        tenant = (headers.get("ce_tenant") or b"").decode(errors="replace")
        is_clear = headers.get("ce_subject") == record.key
        if is_clear and (self._ids is None or may_belong(self._ids, job, tenant)):
            self._hub.forget(tenant, job)

    async def _watch(self) -> None:
        """Ask where the log ends, notice new partitions, and find a reader that stands still."""
        while not self._is_stopping:
            await asyncio.sleep(_PROBE_S)
            consumer = self._consumer
            if consumer is None or self._is_stuck:
                continue
            try:
                # At most `_PROBE_S` late for new partitions; the client itself looks once a minute.
                await consumer._client.force_metadata_update()  # noqa: SLF001 - no public way
                ends = await consumer.end_offsets(list(self._next))
            except (TimeoutError, KafkaError, ValueError) as error:
                log.warning("tail.broker_silent", error=type(error).__name__)
                continue
            self._answered()
            self._metrics.behind.set(self._behind(ends))
            self._add_partitions(consumer)
            quiet = self._clock.monotonic() - self._progress_at
            if not self._behind(ends):
                self._progress_at = self._clock.monotonic()
            elif quiet > self._settings.stuck_after / timedelta(seconds=1):
                log.error("tail.stuck", behind=self._behind(ends), quiet_s=round(quiet))
                self._is_stuck = True

    def _add_partitions(self, consumer: AIOKafkaConsumer) -> None:
        known = consumer.partitions_for_topic(self._topic) or set()
        added = {TopicPartition(self._topic, number) for number in known} - self._next.keys()
        if added:
            # Born after our start: their first record is still to be read.
            self._next |= dict.fromkeys(added, 0)
            self._assign(consumer)
            log.info("tail.partitions_added", partitions=len(self._next))

    def _assign(self, consumer: AIOKafkaConsumer) -> None:
        consumer.assign(list(self._next))
        for place, offset in self._next.items():
            consumer.seek(place, offset)

    async def _rebuild(self) -> None:
        self._metrics.rebuilds.inc()
        await self._close()
        self._consumer = await self._connect()
        self._is_stuck = False
        self._progress_at = self._clock.monotonic()
        log.info("tail.rebuilt", partitions=len(self._next))

    async def _connect(self) -> AIOKafkaConsumer:
        """A client where reading goes on; tries until the broker answers and the topic exists."""
        tries = 0
        while True:
            consumer = make_tail_consumer(self._kafka, client_id="penstock-tail")
            try:
                await consumer.start()
                await self._locate(consumer)
            except (KafkaError, OSError, _NoTopicError) as error:
                log.warning("tail.not_connected", error=str(error) or type(error).__name__)
            except BaseException:
                await self._stop_client(consumer)
                raise
            else:
                return consumer
            await self._stop_client(consumer)
            self._turn_at = self._clock.monotonic()
            await asyncio.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
            tries += 1

    async def _locate(self, consumer: AIOKafkaConsumer) -> None:
        # The only way to learn a topic's partitions without a group and without reading them.
        await consumer._client.set_topics([self._topic])  # noqa: SLF001 - see above
        numbers = consumer.partitions_for_topic(self._topic)
        if not numbers:
            raise _NoTopicError(
                f"topic {self._topic} does not exist; create it with `penstock topics apply`"
            )
        places = [TopicPartition(self._topic, number) for number in sorted(numbers)]
        unknown = [place for place in places if place not in self._next]
        if unknown:
            since = self._clock.now() - self._settings.lookback
            since_ms = int(since.timestamp() * 1000)
            found = await consumer.offsets_for_times(dict.fromkeys(unknown, since_ms))
            ends = await consumer.end_offsets(unknown)
            for place in unknown:
                first = found[place]
                self._next[place] = ends[place] if first is None else first.offset
        self._assign(consumer)

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._stop_client(consumer)

    async def _stop_client(self, consumer: AIOKafkaConsumer) -> None:
        stopping = asyncio.create_task(consumer.stop(), name="tail client stop")
        done, _ = await asyncio.wait({stopping}, timeout=_STOP_S)
        if not done:
            log.error("tail.client_frozen")
        elif (error := stopping.exception()) is not None:
            log.warning("tail.client_stop_failed", error=type(error).__name__)

    def _behind(self, ends: dict[TopicPartition, int]) -> int:
        return sum(max(0, end - self._next.get(place, 0)) for place, end in ends.items())

    def _answered(self) -> None:
        self._answer_at = self._clock.monotonic()


class _NoTopicError(Exception):
    """The topic is not there yet; internal to connecting."""
