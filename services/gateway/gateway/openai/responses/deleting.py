"""Having a job's content removed: a fact in the log, so that it holds whatever is rebuilt."""

from __future__ import annotations

from penstock_contracts.catalog import CE_DELETED
from penstock_contracts.codec import encode_model
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.events import Deleted
from penstock_contracts.state import JobState
from penstock_contracts.topics import EVENTS
from penstock_kit.auth.principal import Principal
from penstock_kit.clock import Clock
from penstock_kit.kafka.ports import DeliveryUnknown, OutRecord, Producer, ProducerFull

from gateway.errors import ApiError
from gateway.records import SOURCE

__all__ = ["Deleter"]


class Deleter:
    """Tells the recorder to forget a job's content."""

    def __init__(self, *, producer: Producer, clock: Clock) -> None:
        self._producer = producer
        self._clock = clock

    async def delete(self, principal: Principal, state: JobState) -> None:
        """Write the fact and wait for the broker.

        Raises:
            ApiError: broker_busy; it may be said again.
        """
        now = self._clock.now()
        envelope = Envelope(
            id=f"{state.job}:deleted",
            source=SOURCE,
            type=CE_DELETED,
            time=now,
            subject=state.job,
            tenant=state.tenant,
            user=principal.user,
        )
        deleted = Deleted(job=state.job, at=now, by=principal.user)
        headers = encode_headers(envelope)
        record = OutRecord(EVENTS.name, state.job.encode(), encode_model(deleted), headers)
        try:
            await self._producer.send(record)
        except (ProducerFull, DeliveryUnknown) as error:
            message = "the log did not take the order to delete in time; send it again"
            raise ApiError(
                "broker_busy", message, retry_after_s=error.retry_after_s or 1.0
            ) from error
