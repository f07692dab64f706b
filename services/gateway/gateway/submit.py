"""Taking a job: check, name, remember the key, write once, answer. The order is the promise.

1. `prepare` checks the body and gives the job its id; nothing outside has changed yet.
2. `accept` is admitted (limits, backlogs, Idempotency-Key in one step), writes one record, awaits
   the broker. What is refused after admission gives its places back.

A job is accepted when the broker says so, not before and not by any other write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog
from penstock_contracts.ids import JobIds, new_uuid7
from penstock_kit.auth.principal import Principal
from penstock_kit.clock import Clock
from penstock_kit.tenancy import TenantScope

from gateway.admission.admit import Admission, Admitted, Candidate
from gateway.admission.crowd import Crowd
from gateway.admission.store import KeyClaim
from gateway.checking import CheckedJob, JobChecker
from gateway.errors import ApiError
from gateway.metrics import GatewayMetrics
from gateway.queueing import QueueLines
from gateway.recent import RecentJob, RecentJobs
from gateway.records import RequestEvent
from gateway.views import rfc3339
from gateway.writing import JobWriter

__all__ = ["Accepted", "Call", "PreparedJob", "Submitter"]

log = structlog.get_logger(__name__)

ROUTE = "jobs"
"""Scope of the Idempotency-Keys of `POST /v1/jobs` beside the tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One submit as it came: who, the body's bytes, and what its headers say.

    `cancel_after` is no part of the content: a repeated key has the limit of its first request.
    """

    principal: Principal
    body: bytes = b""
    idempotency_key: str | None = None
    cancel_after: timedelta | None = None
    traceparent: str | None = None
    tracestate: str | None = None


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A checked job with its id; nothing has been written.

    Attributes:
        fingerprint: of the content; None without a key.
        is_watched: somebody may look at it right now; else readers hear a moment later of it.
    """

    event: RequestEvent
    key: str | None
    fingerprint: str | None
    route: str = ROUTE
    is_watched: bool = True

    @property
    def job(self) -> str:
        """The job's id."""
        return self.event.job

    @property
    def scope(self) -> TenantScope:
        """The whole tenant: ids and keys are scoped to it."""
        return TenantScope(self.event.principal.tenant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The log has the job. Holds nothing of the body, which may be large.

    Attributes:
        is_replay: its key was used before.
        headers: how the caller's limits stand.
    """

    job: str
    task: str
    created_text: str
    is_demoted: bool
    is_replay: bool
    headers: dict[str, str]


class Submitter:
    """Takes jobs. `randomness(n)` gives n random bytes."""

    def __init__(
        self,
        *,
        checker: JobChecker,
        ids: JobIds,
        admission: Admission,
        writer: JobWriter,
        lines: QueueLines,
        crowd: Crowd,
        recent: RecentJobs,
        metrics: GatewayMetrics,
        clock: Clock,
        randomness: Callable[[int], bytes],
    ) -> None:
        self._checker = checker
        self._ids = ids
        self._admission = admission
        self._writer = writer
        self._lines = lines
        self._crowd = crowd
        self._recent = recent
        self._metrics = metrics
        self._clock = clock
        self._randomness = randomness

    def prepare(self, call: Call) -> PreparedJob:
        """Check the body and name the job.

        Raises:
            ApiError: what is wrong with the body.
        """
        checked = self._checker.check(call.body)
        return self.prepare_checked(call, checked, route=ROUTE, content=checked.raw)

    def prepare_checked(
        self, call: Call, checked: CheckedJob, *, route: str, content: Any
    ) -> PreparedJob:
        """Name a job that somebody else has decoded and checked; `call.body` is not looked at.

        Args:
            call: who asks, under which key.
            checked: the job.
            route: scope of the Idempotency-Key beside the tenant.
            content: the decoded body, of which the fingerprint is taken.
        """
        now = self._clock.now()
        key = call.idempotency_key
        fingerprint = None if key is None else _fingerprint(call.principal, content)
        uuid = self._uuid(call, route, fingerprint, now)
        event = RequestEvent(
            job=self._ids.issue(tenant=call.principal.tenant, uuid=uuid),
            principal=call.principal,
            checked=checked,
            created_at=now,
            created_text=rfc3339(now),
            deadline=_deadline(checked, now),
            ends_by=None if call.cancel_after is None else now + call.cancel_after,
            traceparent=call.traceparent,
            tracestate=call.tracestate,
        )
        return PreparedJob(event, key, fingerprint, route)

    async def accept(self, prepared: PreparedJob) -> Accepted:
        """Let the job in, write it and wait until the broker has it.

        Raises:
            ApiError: the refusals of `Admission.admit` and `JobWriter.write`.
        """
        admitted = await self._admission.admit(_candidate(prepared))
        event = prepared.event
        if admitted.is_written:
            seen = self._recent.get(event.job)
            return _accepted(event, admitted, is_demoted=seen is not None and seen.is_demoted)
        if admitted.is_demoted:
            event = replace(event, is_demoted=True)
        await self._write(event, admitted)
        self._writer.hint(event, is_watched=prepared.is_watched)
        self._admission.settle(admitted)
        task = event.checked.body.task
        self._metrics.jobs_accepted.labels(task).inc()
        log.debug("job.accepted", job=event.job, task=task, tenant=event.principal.tenant)
        return _accepted(event, admitted, is_demoted=event.is_demoted)

    def _uuid(self, call: Call, route: str, fingerprint: str | None, now: datetime) -> UUID:
        if fingerprint is None:
            return new_uuid7(now_ms=int(now.timestamp() * 1000), randomness=self._randomness(10))
        # Redis forgets keys, by age or with all the rest: another body, or another user's, is
        # another job then, and never gets the answer to the first.
        key = f"{fingerprint}:{call.idempotency_key}"
        return self._ids.uuid_for_key(tenant=call.principal.tenant, route=route, key=key)

    async def _write(self, event: RequestEvent, admitted: Admitted) -> None:
        # Counted before it is written: a worker may be done with it before we hear the broker.
        self._lines.queued(event.job, task=event.checked.body.task, priority=event.priority.value)
        self._crowd.opened(event.job, event.principal.tenant)
        try:
            await self._writer.write(event)
        except ApiError as error:
            if error.kind.code != "acceptance_unknown" and not admitted.is_replay:
                self._lines.ended(event.job, completed=False)
                self._crowd.closed(event.job)
                await self._admission.refund(admitted)
            raise
        body, principal = event.checked.body, event.principal
        self._recent.add(
            event.job,
            RecentJob(
                principal.tenant,
                principal.user,
                body.task,
                event.created_at,
                body.model,
                event.priority.value,
                event.is_demoted,
            ),
        )


def _accepted(event: RequestEvent, admitted: Admitted, *, is_demoted: bool) -> Accepted:
    return Accepted(
        job=event.job,
        task=event.checked.body.task,
        created_text=event.created_text,
        is_demoted=is_demoted,
        is_replay=admitted.is_replay,
        headers=admitted.headers,
    )


def _candidate(prepared: PreparedJob) -> Candidate:
    body = prepared.event.checked.body
    claim = None
    if prepared.key is not None and prepared.fingerprint is not None:
        claim = KeyClaim(prepared.route, prepared.key, prepared.fingerprint)
    return Candidate(
        job=prepared.job,
        principal=prepared.event.principal,
        task=body.task,
        priority=body.priority,
        has_conversation=body.conversation is not None,
        deadline_s=_hurry_s(prepared.event),
        claim=claim,
    )


def _hurry_s(event: RequestEvent) -> float | None:
    """Seconds until the job is of no use unless it has begun; None: it can wait."""
    asked_s = event.checked.body.deadline_s
    if event.ends_by is None:
        return asked_s
    left_s = (event.ends_by - event.created_at).total_seconds()
    return left_s if asked_s is None else min(asked_s, left_s)


def _deadline(checked: CheckedJob, now: datetime) -> datetime | None:
    seconds = checked.body.deadline_s
    return None if seconds is None else now + timedelta(seconds=seconds)


def _fingerprint(principal: Principal, content: Any) -> str:
    # By content, not by bytes: a client may write the same object with other spaces or order.
    canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(principal.user.encode() + b"\n" + canonical).hexdigest()
