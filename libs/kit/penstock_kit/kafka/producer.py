"""The durable producer: everything on the event loop; librdkafka's own threads do the work.

`produce()` only enqueues. Acknowledgements are collected by `poll(0)` from a timer, each
millisecond while some are due, rarely else. A thread that blocks in `poll()` hears them half a
millisecond sooner, but wakes itself, waits for the GIL and wakes the loop for each: a fifth of what
a request costs a gateway.
`confluent_kafka.aio` is not used: it refuses headers and waits for batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    Message,
    Producer,
)

from penstock_kit.errors import Fatal, PenstockError
from penstock_kit.kafka.errors import consumer_fault, delivery_error, is_beyond_repair
from penstock_kit.kafka.factory import Pace, make_producer
from penstock_kit.kafka.ports import Ack, BrokerFault, OutRecord, ProducerFull
from penstock_kit.settings import KafkaSettings

__all__ = ["KafkaProducer"]

log = structlog.get_logger(__name__)

_BUSY_S: Final = {Pace.PROMPT: 0.001, Pace.BATCH: 0.01}
"""Between two looks while acknowledgements are due: the finest step of uvloop's timers, and what is
little beside the time that a batch takes to fill."""
_IDLE_S: Final = 0.1
"""The same while none is: errors of the client are heard so late."""

_UNANSWERED_S: Final = 2.0
"""How long `stop` waits where a record was given up lately, and none acknowledged since."""

_BY_KEY: Final = -1
"""librdkafka's RD_KAFKA_PARTITION_UA: the partitioner chooses."""

_NO_ANSWER: Final = KafkaError._MSG_TIMED_OUT  # noqa: SLF001 - public by documentation

AckCallback = Callable[[Ack | None, Exception | None], None]


class KafkaProducer:
    """Implements the port `Producer` on librdkafka. Call everything on one event loop.

    `on_fatal` is told once, on the loop, when the client is beyond repair; every later `send`
    raises `BrokerFault`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        client_id: str = "penstock",
        pace: Pace = Pace.PROMPT,
        on_fatal: Callable[[Fatal], None] | None = None,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._pace = pace
        self._on_fatal = on_fatal
        self._client: Producer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_busy = False
        self._fault: BrokerFault | None = None
        self._unanswered_at = float("-inf")

    async def start(self) -> None:
        """Create the client; the broker need not be reachable."""
        if self._client is not None:
            return
        self._client = make_producer(
            self._settings,
            client_id=self._client_id,
            pace=self._pace,
            overrides={"error_cb": self._on_error},
        )
        self._look_again(is_busy=False)

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Wait for outstanding acknowledgements, at most `timeout_s`.

        Less while no broker answers. What is left then fails as unknown. Works twice.
        """
        client, self._client = self._client, None
        if client is None or self._timer is None:
            return
        self._timer.cancel()
        patience_s = 2 * self._settings.delivery_timeout.total_seconds()
        if time.monotonic() - self._unanswered_at < patience_s:
            timeout_s = min(timeout_s, _UNANSWERED_S)
        end_at = time.monotonic() + timeout_s
        while len(client) and time.monotonic() < end_at:
            client.poll(0)
            await asyncio.sleep(_BUSY_S[self._pace])
        client.purge()
        client.poll(0)
        last = [client]
        del client
        await asyncio.to_thread(last.clear)  # destroying it waits for the client's threads

    async def send(self, record: OutRecord) -> Ack:
        """Write and wait for the acknowledgement; errors as the port says."""
        future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._produce(record, partial(_settle, future))
        return await future

    def send_soon(self, record: OutRecord, on_ack: AckCallback | None = None) -> None:
        """Enqueue now; refusals other than a full queue reach `on_ack`."""
        try:
            self._produce(record, on_ack or _ignore)
        except ProducerFull:
            raise
        except PenstockError as error:
            if on_ack is None:
                log.warning("kafka.send_refused", topic=record.topic, error=str(error))
                return
            asyncio.get_running_loop().call_soon(on_ack, None, error)

    def _produce(self, record: OutRecord, on_ack: AckCallback) -> None:
        client = self._client
        if self._fault is not None:
            raise self._fault
        if client is None:
            raise BrokerFault("the producer is not running; start it, and stop it after its users")
        headers = record.headers
        try:
            client.produce(
                record.topic,
                record.value,
                record.key,
                _BY_KEY if record.partition is None else record.partition,
                partial(self._report, on_ack),
                headers=headers if type(headers) is list else list(headers),
            )
        except BufferError:
            raise ProducerFull(
                "the producer's queue is full: the brokers are slow or away; wait and send again"
            ) from None
        except KafkaException as error:
            raise delivery_error(error.args[0], record.topic) from error
        if not self._is_busy:
            self._look_again(is_busy=True)

    def _look(self) -> None:
        client = self._client
        if client is not None:
            client.poll(0)
            self._look_again(is_busy=len(client) > 0)

    def _look_again(self, *, is_busy: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._is_busy = is_busy
        pause_s = _BUSY_S[self._pace] if is_busy else _IDLE_S
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._look)

    def _report(self, on_ack: AckCallback, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._unanswered_at = float("-inf")
        elif error.code() == _NO_ANSWER:
            self._unanswered_at = time.monotonic()
        try:
            if error is None:
                on_ack(_ack(message), None)
            else:
                on_ack(None, delivery_error(error, message.topic() or ""))
        except Exception:
            log.exception("kafka.ack_callback_failed", topic=message.topic())

    def _on_error(self, error: KafkaError) -> None:
        """Called by librdkafka inside `poll`."""
        if is_beyond_repair(error):
            self._fail(consumer_fault(error))
        else:
            log.debug("kafka.producer_trouble", code=error.name(), error=error.str())

    def _fail(self, fault: BrokerFault) -> None:
        if self._fault is not None:
            return
        self._fault = fault
        log.critical("kafka.producer_dead", error=str(fault))
        if self._on_fatal is not None:
            self._on_fatal(fault)


def _ack(message: Message) -> Ack:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    kind, timestamp_ms = message.timestamp()
    return Ack(topic, partition, offset, timestamp_ms if kind == TIMESTAMP_LOG_APPEND_TIME else -1)


def _settle(future: asyncio.Future[Ack], ack: Ack | None, error: Exception | None) -> None:
    if future.done():  # the sender was cancelled
        return
    if error is not None:
        future.set_exception(error)
    elif ack is not None:
        future.set_result(ack)


def _ignore(_: Ack | None, error: Exception | None) -> None:
    if error is not None:
        log.warning("kafka.send_failed", error=str(error))
