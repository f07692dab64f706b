"""Taking a job: check, name, remember the key, write once, answer. The order is the promise.

1. `prepare` checks the body and gives the job its id; nothing outside has changed yet.
2. `accept` takes the Idempotency-Key, stores a large input, writes one record, awaits the broker.

A job is accepted when the broker says so, not before and not by any other write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson
import structlog
from penstock_contracts.codec import dumps
from penstock_contracts.ids import JobIds, new_uuid7
from penstock_contracts.parts import BlobRef
from penstock_kit.auth.principal import Principal
from penstock_kit.clock import Clock
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.ports import (
    Ack,
    BrokerFault,
    DeliveryUnknown,
    OutRecord,
    Producer,
    ProducerFull,
    RecordRefused,
)
from penstock_kit.tasks import TaskCatalog
from penstock_kit.tenancy import TenantScope

from gateway.checking import CheckedJob, JobChecker
from gateway.errors import ApiError
from gateway.metrics import GatewayMetrics
from gateway.ports import Blobs, Fingerprints
from gateway.queueing import QueueLines
from gateway.recent import RecentJob, RecentJobs
from gateway.records import RecordWriter, RequestEvent
from gateway.views import rfc3339

__all__ = ["Accepted", "Call", "PreparedJob", "Submitter"]

log = structlog.get_logger(__name__)

ROUTE = "jobs"
"""Scope of Idempotency-Keys beside the tenant."""
_MAX_RECORD_BYTES = 768 * 1024
"""Topics take 1 MiB; the rest is room for headers, and for dead letters, which wrap the record."""
_UNKNOWN_RETRY_S = 5.0
"""Seconds: the producer has waited its delivery time-out already, the broker needs a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One submit as it came: who, the body's bytes, and what its headers say."""

    principal: Principal
    body: bytes
    idempotency_key: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A checked job with its id; nothing has been written. `fingerprint` is None without a key."""

    event: RequestEvent
    key: str | None
    fingerprint: str | None

    @property
    def job(self) -> str:
        """The job's id."""
        return self.event.job

    @property
    def scope(self) -> TenantScope:
        """The whole tenant: ids and keys are scoped to it."""
        return TenantScope(self.event.principal.tenant)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The log has the job. `is_replay`: it had it before this call."""

    prepared: PreparedJob
    is_replay: bool


class Submitter:
    """Takes jobs. `randomness(n)` gives n random bytes."""

    def __init__(
        self,
        *,
        checker: JobChecker,
        tasks: TaskCatalog,
        ids: JobIds,
        records: RecordWriter,
        producer: Producer,
        blobs: Blobs,
        fingerprints: Fingerprints,
        lines: QueueLines,
        recent: RecentJobs,
        metrics: GatewayMetrics,
        clock: Clock,
        randomness: Callable[[int], bytes],
        inline_limit_bytes: int,
    ) -> None:
        self._checker = checker
        self._tasks = tasks
        self._ids = ids
        self._records = records
        self._producer = producer
        self._blobs = blobs
        self._fingerprints = fingerprints
        self._lines = lines
        self._recent = recent
        self._metrics = metrics
        self._clock = clock
        self._randomness = randomness
        self._inline_limit_bytes = inline_limit_bytes

    def prepare(self, call: Call) -> PreparedJob:
        """Check the body and name the job.

        Raises:
            ApiError: what is wrong with the body.
        """
        checked = self._checker.check(call.body)
        now = self._clock.now()
        tenant = call.principal.tenant
        uuid = self._uuid(tenant, call.idempotency_key, now)
        event = RequestEvent(
            job=self._ids.issue(tenant=tenant, uuid=uuid),
            principal=call.principal,
            checked=checked,
            created_at=now,
            created_text=rfc3339(now),
            deadline=_deadline(checked, now),
            traceparent=call.traceparent,
            tracestate=call.tracestate,
        )
        fingerprint = None if call.idempotency_key is None else _fingerprint(call, checked)
        return PreparedJob(event, call.idempotency_key, fingerprint)

    async def accept(self, prepared: PreparedJob) -> Accepted:
        """Write the job and wait until the broker has it.

        Raises:
            ApiError: idempotency_key_reused, body_too_large, broker_busy, acceptance_unknown,
                blobs_unavailable.
        """
        seen = await self._claim(prepared)
        if seen == "accepted":
            return Accepted(prepared, is_replay=True)
        event, body = prepared.event, prepared.event.checked.body
        record = await self._record(prepared)
        await self._write(record, event.job)
        self._note(event)
        if prepared.key is not None:
            await self._note_key(prepared)
        self._metrics.jobs_accepted.labels(body.task).inc()
        log.debug("job.accepted", job=event.job, task=body.task, tenant=event.principal.tenant)
        return Accepted(prepared, is_replay=seen == "pending")

    def _uuid(self, tenant: str, key: str | None, now: datetime) -> UUID:
        if key is not None:
            return self._ids.uuid_for_key(tenant=tenant, route=ROUTE, key=key)
        return new_uuid7(now_ms=int(now.timestamp() * 1000), randomness=self._randomness(10))

    async def _claim(self, prepared: PreparedJob) -> str:
        """`free`, `pending` (written before, never seen acknowledged) or `accepted`."""
        if prepared.key is None or prepared.fingerprint is None:
            return "free"
        try:
            claimed = await self._fingerprints.claim(
                prepared.scope, route=ROUTE, key=prepared.key, fingerprint=prepared.fingerprint
            )
        except TableAway:
            # The id follows from the key alone, so the job still cannot run twice.
            self._metrics.degraded.labels("idempotency").inc()
            return "free"
        if claimed is None:
            return "free"
        if claimed.fingerprint != prepared.fingerprint:
            message = (
                "this Idempotency-Key was used with another body; "
                "use a fresh key for a new request, or repeat the first body"
            )
            raise ApiError("idempotency_key_reused", message, param="Idempotency-Key")
        return "accepted" if claimed.is_accepted else "pending"

    async def _record(self, prepared: PreparedJob) -> OutRecord:
        event = prepared.event
        base = self._tasks.base_topic(event.checked.body.task)
        record = self._records.request(event, base_topic=base, input_ref=None)
        assert record.value is not None
        if len(record.value) > self._inline_limit_bytes:
            data = dumps(event.checked.input)
            if len(data) > self._inline_limit_bytes // 2:
                reference = await self._store(prepared, data)
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

    async def _store(self, prepared: PreparedJob, data: bytes) -> BlobRef:
        try:
            return await self._blobs.put(prepared.scope, prepared.job, "input", data)
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

    async def _write(self, record: OutRecord, job: str) -> None:
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

    def _note(self, event: RequestEvent) -> None:
        body, principal = event.checked.body, event.principal
        self._recent.add(
            event.job,
            RecentJob(
                principal.tenant,
                principal.user,
                body.task,
                event.created_at,
                body.model,
                body.priority.value,
            ),
        )
        self._lines.queued(event.job, task=body.task, priority=body.priority.value)
        try:
            self._producer.send_soon(self._records.queued(event), _ignore)
        except ProducerFull:
            # A hint only: the recorder folds the request itself.
            self._metrics.degraded.labels("queued_hint").inc()

    async def _note_key(self, prepared: PreparedJob) -> None:
        assert prepared.key is not None
        assert prepared.fingerprint is not None
        try:
            await self._fingerprints.accepted(
                prepared.scope, route=ROUTE, key=prepared.key, fingerprint=prepared.fingerprint
            )
        except TableAway:
            self._metrics.degraded.labels("idempotency").inc()


def _deadline(checked: CheckedJob, now: datetime) -> datetime | None:
    seconds = checked.body.deadline_s
    return None if seconds is None else now + timedelta(seconds=seconds)


def _fingerprint(call: Call, checked: CheckedJob) -> str:
    # By content, not by bytes: a client may write the same object with other spaces or order.
    canonical = orjson.dumps(checked.raw, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(call.principal.user.encode() + b"\n" + canonical).hexdigest()


def _ignore(_ack: Ack | None, _error: Exception | None) -> None:
    """A lost hint is no loss."""
