"""The producer of Kafka in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from penstock_kit.kafka.ports import Ack, BrokerFault, DeliveryUnknown, OutRecord, ProducerFull

if TYPE_CHECKING:
    from penstock_kit.kafka.memory import MemoryKafka

__all__ = ["MemoryProducer"]

log = structlog.get_logger(__name__)

AckCallback = Callable[[Ack | None, Exception | None], None]


class MemoryProducer:
    """Writes at once.

    Acknowledgements arrive in a later turn of the loop, as from a real broker.
    """

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self._is_running = False

    async def start(self) -> None:
        """Ready."""
        self._is_running = True

    async def stop(
        self,
        timeout_s: float = 10.0,  # noqa: ARG002 - nothing is ever outstanding
    ) -> None:
        """Refuse further records."""
        self._is_running = False

    async def send(self, record: OutRecord) -> Ack:
        """Write and wait for the acknowledgement."""
        future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()

        def settle(ack: Ack | None, error: Exception | None) -> None:
            if future.done():
                return
            if ack is not None:
                future.set_result(ack)
            else:
                assert error is not None
                future.set_exception(error)

        self._write(record, settle)
        return await future

    def send_soon(self, record: OutRecord, on_ack: AckCallback | None = None) -> None:
        """Write now, acknowledge later."""
        on_ack = on_ack or _ignore
        try:
            self._write(record, on_ack)
        except ProducerFull:
            raise
        except Exception as error:  # noqa: BLE001 - tests may ask for any error
            asyncio.get_running_loop().call_soon(on_ack, None, error)

    def _write(self, record: OutRecord, on_ack: AckCallback) -> None:
        if not self._is_running:
            raise BrokerFault("the producer is not running; start it, and stop it after its users")
        faults = self._kafka.faults
        fault = faults.on_send(record) if faults.on_send is not None else None
        if fault is not None:
            raise fault
        ack = self._kafka.append(record)
        if faults.hold_acks:
            self._kafka.hold(lambda: on_ack(ack, None))
            return
        loop = asyncio.get_running_loop()
        if faults.lose_acks:
            loop.call_soon(on_ack, None, DeliveryUnknown("no acknowledgement in time"))
        else:
            loop.call_soon(on_ack, ack, None)


def _ignore(_: Ack | None, error: Exception | None) -> None:
    if error is not None:
        log.warning("kafka.send_failed", error=str(error))
