"""Writing a job into the log: one record, large inputs beside it, and what a refusal means."""

from __future__ import annotations

import structlog
from penstock_contracts.codec import dumps
from penstock_contracts.parts import BlobRef
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.kafka.bursts import Bursts
from penstock_kit.kafka.ports import (
    BrokerFault,
    DeliveryUnknown,
    OutRecord,
    Producer,
    ProducerFull,
    RecordRefused,
)
from penstock_kit.tasks import TaskCatalog
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.ports import Blobs
from gateway.records import RecordWriter, RequestEvent

__all__ = ["JobWriter"]

log = structlog.get_logger(__name__)

_MAX_RECORD_BYTES = 768 * 1024
"""Topics take 1 MiB; the rest is room for headers, and for dead letters, which wrap the record."""
_UNKNOWN_RETRY_S = 5.0
"""Seconds: the producer has waited its delivery time-out already, the broker needs a moment."""


class JobWriter:
    """Writes request records. Every failure is an `ApiError` that says what the log has."""

    def __init__(
        self,
        *,
        tasks: TaskCatalog,
        records: RecordWriter,
        producer: Producer,
        hints: Bursts,
        slow_hints: Bursts,
        blobs: Blobs,
        inline_limit_bytes: int,
    ) -> None:
        self._tasks = tasks
        self._records = records
        self._producer = producer
        self._hints = hints
        self._slow_hints = slow_hints
        self._blobs = blobs
        self._inline_limit_bytes = inline_limit_bytes

    async def write(self, event: RequestEvent) -> None:
        """Store a large input, write the record, and wait until the broker has it.

        Raises:
            ApiError: acceptance_unknown, where the log may have the job; body_too_large,
                broker_busy or blobs_unavailable, where it surely has not.
        """
        await self._send(await self._record(event), event.job)

    def hint(self, event: RequestEvent, *, is_watched: bool) -> None:
        """Tell readers that the job waits; a moment later where nobody watches it."""
        hints = self._hints if is_watched else self._slow_hints
        hints.tell(self._records.queued(event))

    async def _record(self, event: RequestEvent) -> OutRecord:
        base = self._tasks.base_topic(event.checked.body.task)
        record = self._records.request(event, base_topic=base, input_ref=None)
        assert record.value is not None
        if len(record.value) > self._inline_limit_bytes:
            data = dumps(event.checked.input)
            if len(data) > self._inline_limit_bytes // 2:
                reference = await self._store(event, data)
                record = self._records.request(
                    event, base_topic=base, input_ref=reference.model_dump()
                )
        assert record.value is not None
        if len(record.value) > _MAX_RECORD_BYTES:
            message = (
                f"everything beside input has {len(record.value)} bytes, at most "
                f"{_MAX_RECORD_BYTES} are accepted; shorten params"
            )
            raise ApiError("body_too_large", message, param="params")
        return record

    async def _store(self, event: RequestEvent, data: bytes) -> BlobRef:
        try:
            return await self._blobs.put(
                TenantScope(event.principal.tenant), event.job, "input", data
            )
        except Retryable as error:
            message = (
                "the store for large inputs does not answer; nothing was accepted, send it again"
            )
            raise ApiError(
                "blobs_unavailable", message, retry_after_s=error.retry_after_s or 2.0
            ) from error
        except Rejected as error:
            message = "the input is larger than this deployment stores; split the job"
            raise ApiError("body_too_large", message, param="input") from error

    async def _send(self, record: OutRecord, job: str) -> None:
        try:
            await self._producer.send(record)
        except ProducerFull as error:
            message = (
                "the log takes no more jobs at the moment; nothing was accepted, send it again"
            )
            raise ApiError("broker_busy", message, retry_after_s=error.retry_after_s) from error
        except (DeliveryUnknown, BrokerFault) as error:
            message = (
                f"the log did not confirm {job} in time, it may or may not run; "
                "look at it later, or repeat the request with its Idempotency-Key"
            )
            raise ApiError(
                "acceptance_unknown",
                message,
                retry_after_s=_UNKNOWN_RETRY_S,
                members={"job": job},
            ) from error
        except RecordRefused as error:
            log.exception("job.refused_by_broker", job=job, code=error.code, topic=record.topic)
            raise ApiError(
                "broker_busy",
                "the log refuses the job; the deployment's topics need the operator's attention",
                retry_after_s=30,
            ) from error
