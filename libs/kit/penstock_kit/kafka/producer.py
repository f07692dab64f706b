"""The durable producer: `produce()` on the loop, one thread that collects acknowledgements.

librdkafka's `produce()` only enqueues, so it is called on the event loop. The poll thread blocks
in `poll()` and hands every acknowledgement of a round over in one `call_soon_threadsafe`.
`confluent_kafka.aio` is not used: it refuses headers and waits for batches.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

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

_POLL_S: Final = 0.1
"""How long a round waits without acknowledgements.

Bounds `stop`, not the latency of an acknowledgement.
"""

_BY_KEY: Final = -1
"""librdkafka's RD_KAFKA_PARTITION_UA: the partitioner chooses."""

AckCallback = Callable[[Ack | None, Exception | None], None]
_Report = tuple[AckCallback, KafkaError | None, Message]


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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._reports: list[_Report] = []
        self._stop_at: float | None = None
        self._fault: BrokerFault | None = None

    async def start(self) -> None:
        """Create the client and its thread; the broker need not be reachable."""
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._client = make_producer(
            self._settings,
            client_id=self._client_id,
            pace=self._pace,
            overrides={"error_cb": self._on_error},
        )
        self._thread = threading.Thread(
            target=self._poll_until_stopped, name=f"{self._client_id}-acks", daemon=True
        )
        self._thread.start()

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Wait for outstanding acknowledgements, at most `timeout_s`.

        What is left then fails as unknown.
        """
        thread = self._thread
        if thread is None:
            return
        if self._stop_at is None:
            self._stop_at = time.monotonic() + timeout_s
        await asyncio.to_thread(thread.join)
        self._thread = None

    async def send(self, record: OutRecord) -> Ack:
        """Write and wait for the acknowledgement; errors as the port says."""
        assert self._loop is not None, "start() comes first"
        future: asyncio.Future[Ack] = self._loop.create_future()
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
            assert self._loop is not None
            self._loop.call_soon(on_ack, None, error)

    def _produce(self, record: OutRecord, on_ack: AckCallback) -> None:
        client = self._client
        if self._fault is not None:
            raise self._fault
        if client is None or self._stop_at is not None:
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

    def _report(self, on_ack: AckCallback, error: KafkaError | None, message: Message) -> None:
        self._reports.append((on_ack, error, message))

    def _poll_until_stopped(self) -> None:
        client = self._client
        assert client is not None
        while self._stop_at is None or (len(client) and time.monotonic() < self._stop_at):
            client.poll(_POLL_S)
            self._hand_over()
        client.purge()
        client.poll(0)
        self._hand_over()
        self._client = None  # destroyed here, not on the loop: that waits for the client's threads

    def _hand_over(self) -> None:
        if not self._reports:
            return
        reports, self._reports = self._reports, []
        self._on_loop(self._deliver, reports)

    def _deliver(self, reports: list[_Report]) -> None:
        for on_ack, error, message in reports:
            try:
                if error is None:
                    on_ack(_ack(message), None)
                else:
                    on_ack(None, delivery_error(error, message.topic() or ""))
            except Exception:
                log.exception("kafka.ack_callback_failed", topic=message.topic())

    def _on_error(self, error: KafkaError) -> None:
        """Called by librdkafka inside `poll`: on the poll thread."""
        if is_beyond_repair(error):
            self._on_loop(self._fail, consumer_fault(error))
        else:
            log.debug("kafka.producer_trouble", code=error.name(), error=error.str())

    def _fail(self, fault: BrokerFault) -> None:
        if self._fault is not None:
            return
        self._fault = fault
        log.critical("kafka.producer_dead", error=str(fault))
        if self._on_fatal is not None:
            self._on_fatal(fault)

    def _on_loop(self, callback: Callable[..., None], argument: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, argument)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("kafka.acks_unheard", client_id=self._client_id)


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
