"""Calling a job back."""

from __future__ import annotations

from penstock_contracts.state import JobState
from penstock_kit.auth.principal import Principal
from penstock_kit.clock import Clock
from penstock_kit.control import cancel_record
from penstock_kit.kafka.ports import Ack, DeliveryUnknown, Producer, ProducerFull

from gateway.errors import ApiError

__all__ = ["Canceller"]


class Canceller:
    """Tells every worker to end a job."""

    def __init__(self, *, producer: Producer, clock: Clock) -> None:
        self._producer = producer
        self._clock = clock

    async def cancel(self, principal: Principal, state: JobState) -> bool:
        """Write the order and wait for the broker. False: the job is over, nothing was written.

        Raises:
            ApiError: broker_busy; the order may be given again.
        """
        if state.status.is_terminal:
            return False
        record = cancel_record(
            state.job, tenant=state.tenant, by=principal.user, now=self._clock.now()
        )
        try:
            await self._producer.send(record)
        except (ProducerFull, DeliveryUnknown) as error:
            message = "the log did not take the cancel in time; send it again"
            raise ApiError(
                "broker_busy", message, retry_after_s=error.retry_after_s or 1.0
            ) from error
        return True

    def cancel_soon(self, principal: Principal, job: str) -> bool:
        """The same for a job of the caller's own that surely runs, without waiting.

        False: the log has no room for the order, and the job goes on.
        """
        record = cancel_record(
            job, tenant=principal.tenant, by=principal.user, now=self._clock.now()
        )
        try:
            self._producer.send_soon(record, _ignore)
        except ProducerFull:
            return False
        return True


def _ignore(_ack: Ack | None, _error: Exception | None) -> None:
    """Whoever left asks for nothing any more."""
