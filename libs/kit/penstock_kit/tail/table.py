"""A compacted topic as a table that is complete after start-up and current from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

import structlog
from aiokafka.errors import (
    KafkaError,
    UnknownTopicOrPartitionError,
)

from penstock_kit.clock import Clock, SystemClock
from penstock_kit.errors import Fatal
from penstock_kit.kafka.factory import make_tail_consumer
from penstock_kit.kafka.ports import Headers
from penstock_kit.settings import KafkaSettings

__all__ = ["OnChange", "TopicTable"]

log = structlog.get_logger(__name__)

_START_LIMIT = timedelta(seconds=60)
"""A broker that comes up together with us has time to; then the supervisor tries again."""
_STALE_AFTER = timedelta(seconds=30)
_MISSING_LIMIT = timedelta(seconds=10)
"""Topics may be created while we start; one that does not come by then was forgotten."""
_POLL_MS = 500
"""Longest wait of one fetch and so of `stop`; records wake it at once."""
_PROBE_EVERY_S = 5.0
_PROBE_LIMIT_S = 5.0
_STUCK_AFTER_PROBES = 3
"""aiokafka can fall silent after a broker restart (its issue 1154): then we take a new client."""
_MAX_RECORDS = 5_000
_RETRY_PAUSE_S = 0.5
_CLOSE_LIMIT_S = 5.0
_CONNECT_LIMIT_S = 30.0
"""A client that starts while brokers come and go may wait for ever; the next one need not."""


class OnChange(Protocol):
    """Told of every record in order, on the event loop: be quick. `value` None: deleted."""

    def __call__(self, key: str, value: bytes | None, headers: Headers) -> None: ...  # noqa: D102 - said above


class TopicTable:
    """A Part: complete when `start` returns, then following until `stop`.

    Broker restarts are survived: positions are kept and reading goes on. While the broker cannot be
    heard, `is_current` turns false, and what is known stays in use.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        on_change: OnChange,
        *,
        clock: Clock | None = None,
        start_limit: timedelta = _START_LIMIT,
        missing_limit: timedelta = _MISSING_LIMIT,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._on_change = on_change
        self._clock = clock if clock is not None else SystemClock()
        self._start_limit_s = start_limit.total_seconds()
        self._missing_limit_s = missing_limit.total_seconds()
        self._positions: dict[int, int] = {}
        self._moved = asyncio.Event()
        self._reader: Any = None
        self._heard_at = 0.0
        self._is_stopping = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    @property
    def age(self) -> timedelta:
        """Time since the broker last confirmed that we have everything."""
        return timedelta(seconds=self._clock.monotonic() - self._heard_at)

    @property
    def is_current(self) -> bool:
        """Whether the table is loaded and the broker was heard lately."""
        return (
            self._following is not None and not self._following.done() and self.age < _STALE_AFTER
        )

    def check(self) -> str | None:
        """A health check: None, or what is wrong and what to do."""
        if self.is_current:
            return None
        return (
            f"topic {self._topic!r} was last read {self.age.total_seconds():.0f} s ago;"
            " is Kafka reachable? What was read before is still in use"
        )

    async def start(self) -> None:
        """Read to the end, then follow.

        Raises:
            Fatal: the topic is missing, or the broker stayed away for `start_limit`.
        """
        assert self._following is None, "started twice"
        self._is_stopping.clear()
        loop = asyncio.get_running_loop()
        consumer = await self._connect(until=loop.time() + self._start_limit_s)
        try:
            async with asyncio.timeout(self._start_limit_s):
                await self._load(consumer)
        except (TimeoutError, KafkaError) as error:
            await _close(consumer)
            raise self._unreadable(error) from error
        except BaseException:
            await _close(consumer)
            raise
        self._reader = consumer
        self._following = asyncio.create_task(self._follow(consumer), name=f"table {self._topic}")

    async def catch_up(self, limit: timedelta) -> bool:
        """Whether everything that was written before the call has been applied by now.

        Waits up to `limit`; False: the broker cannot be heard, and nobody knows what is missing.
        """
        reader = self._reader
        if reader is None:
            return False
        try:
            async with asyncio.timeout(limit.total_seconds()):
                ends = await reader.end_offsets(reader.assignment())
                while not self._has(ends):
                    await self._moved.wait()
        except (TimeoutError, KafkaError):
            return False
        return True

    async def stop(self) -> None:
        """Stop following; what is known stays."""
        self._is_stopping.set()
        if self._following is not None:
            await asyncio.wait({self._following})
            self._following = None

    async def _connect(self, *, until: float) -> Any:
        """A client that stands where we stood; tries again until `until` on the loop's clock."""
        loop = asyncio.get_running_loop()
        missing_until = loop.time() + self._missing_limit_s
        while True:
            consumer = make_tail_consumer(
                self._settings, self._topic, client_id=f"penstock-table-{self._topic}"
            )
            try:
                async with asyncio.timeout(_CONNECT_LIMIT_S):
                    await consumer.start()
            except (KafkaError, TimeoutError) as error:
                await _close(consumer)
                if isinstance(error, UnknownTopicOrPartitionError) and loop.time() > missing_until:
                    raise Fatal(
                        f"topic {self._topic!r} does not exist; create all topics with"
                        " `penstock topics apply`, then start again"
                    ) from error
                if loop.time() > until:
                    raise self._unreadable(error) from error
            except BaseException:
                await _close(consumer)
                raise
            else:
                for place in consumer.assignment():
                    consumer.seek(place, self._positions.get(place.partition, 0))
                return consumer
            if await self._is_stopped_within(_RETRY_PAUSE_S):
                raise Fatal(f"topic {self._topic!r} was being read when the process was stopped")

    async def _load(self, consumer: Any) -> None:
        ends = await consumer.end_offsets(consumer.assignment())
        while not self._has(ends):
            await self._take(consumer)
        self._heard_at = self._clock.monotonic()

    def _has(self, ends: Mapping[Any, int]) -> bool:
        return all(self._positions.get(place.partition, 0) >= end for place, end in ends.items())

    async def _take(self, consumer: Any) -> None:
        """Apply one fetch."""
        fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
        for records in fetched.values():
            for record in records:
                self._apply(record)
        for place in consumer.assignment():
            # Not the last record's offset: compaction and markers leave holes at the end.
            self._positions[place.partition] = await consumer.position(place)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _apply(self, record: Any) -> None:
        key = (record.key or b"").decode(errors="replace")
        try:
            self._on_change(key, record.value, record.headers)
        except Exception:
            # The edge of the loop: one record that its reader cannot take must not blind it to
            # others.
            log.exception(
                "table.record_failed",
                topic=self._topic,
                partition=record.partition,
                offset=record.offset,
            )

    async def _follow(self, consumer: Any) -> None:
        current: Any = consumer
        try:
            while not self._is_stopping.is_set():
                self._reader = current
                try:
                    await self._follow_with(current)
                except KafkaError as error:
                    log.warning("table.broker_lost", topic=self._topic, error=type(error).__name__)
                self._reader = None
                if self._is_stopping.is_set():
                    break
                await _close(current)
                current = None
                current = await self._reconnect()
        finally:
            self._reader = None
            await _close(current)

    async def _follow_with(self, consumer: Any) -> None:
        """Follow until stopped or until this client is of no use any more."""
        loop = asyncio.get_running_loop()
        probe_at = loop.time() + _PROBE_EVERY_S
        silent = 0
        while not self._is_stopping.is_set():
            before = dict(self._positions)
            await self._take(consumer)
            if loop.time() < probe_at:
                continue
            probe_at = loop.time() + _PROBE_EVERY_S
            is_whole = await self._probe(consumer)
            silent = 0 if is_whole or self._positions != before else silent + 1
            if silent >= _STUCK_AFTER_PROBES:
                log.warning("table.stuck", topic=self._topic)
                return

    async def _probe(self, consumer: Any) -> bool:
        """Ask the broker whether there is more than we have."""
        try:
            async with asyncio.timeout(_PROBE_LIMIT_S):
                ends = await consumer.end_offsets(consumer.assignment())
        except (TimeoutError, KafkaError):
            return False
        is_whole = self._has(ends)
        if is_whole:
            self._heard_at = self._clock.monotonic()
        return is_whole

    async def _reconnect(self) -> Any:
        is_told = False
        while not self._is_stopping.is_set():
            try:
                return await self._connect(until=0)
            except Fatal as error:
                if not is_told:
                    log.warning("table.not_reconnected", topic=self._topic, error=str(error))
                is_told = True
            await self._is_stopped_within(_RETRY_PAUSE_S)
        return None

    async def _is_stopped_within(self, pause_s: float) -> bool:
        try:
            async with asyncio.timeout(pause_s):
                await self._is_stopping.wait()
        except TimeoutError:
            return False
        return True

    def _unreadable(self, error: Exception) -> Fatal:
        return Fatal(
            f"topic {self._topic!r} could not be read to its end within {self._start_limit_s:.0f} s"
            f" ({type(error).__name__}); check PENSTOCK_KAFKA__BOOTSTRAP"
            f" ({self._settings.bootstrap!r}) and that the brokers are up"
        )


async def _close(consumer: Any) -> None:
    """Let go of a client within a limit.

    Its `stop` may swallow a cancellation and go on waiting for a broker that came back half, so it
    is left to itself then instead of being cancelled and awaited.
    """
    if consumer is None:
        return
    stopping = asyncio.ensure_future(consumer.stop())
    done, _ = await asyncio.wait({stopping}, timeout=_CLOSE_LIMIT_S)
    if not done:
        stopping.cancel()
        log.warning("table.close_failed", error="TimeoutError")
    elif not stopping.cancelled() and (error := stopping.exception()) is not None:
        if not isinstance(error, KafkaError):
            raise error
        log.warning("table.close_failed", error=type(error).__name__)
