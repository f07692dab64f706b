"""From an untrusted record to a verified request: the gate in front of workers and recorder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from penstock_contracts.catalog import CE_REQUEST
from penstock_contracts.codec import decode_model, first_problem
from penstock_contracts.envelope import Envelope, decode_event, signature_is_valid
from penstock_contracts.errors import ContractError
from penstock_contracts.ids import JobIds, derived_job_id
from penstock_contracts.models import Identifier
from penstock_contracts.replies import ReplyAddress
from penstock_contracts.requests import Charge, JobRequest, TaskKind
from pydantic import TypeAdapter, ValidationError

from penstock_kit.errors import Rejected
from penstock_kit.kafka.ports import Record
from penstock_kit.tasks import TaskCatalog, TaskType
from penstock_kit.tenancy import TenantScope

__all__ = [
    "Intake",
    "ProducerSecrets",
    "RejectedJob",
    "Sender",
    "VerifiedRequest",
    "reply_of",
    "surface_of",
]

_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request whose sender, tenant, job id, task and shape are established."""

    job: str
    tenant: str
    user: str | None
    task: str
    task_type: TaskType
    request: JobRequest
    created_at: datetime
    envelope: Envelope

    @property
    def scope(self) -> TenantScope:
        """The whole tenant of the job: a worker acts on the tenant's behalf."""
        return TenantScope(self.tenant)

    @property
    def kind(self) -> TaskKind:
        """What the task does."""
        return self.task_type.kind


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose job a record is about, as far as its envelope proves it."""

    job: str
    tenant: str
    user: str | None
    envelope: Envelope

    @property
    def scope(self) -> TenantScope:
        """The whole tenant of the job, as of a request."""
        return TenantScope(self.tenant)


def surface_of(owned: VerifiedRequest | Sender) -> str | None:
    """The kind of the job's surface, for headers of events.

    None: it has none, its end is nobody's news, or its request could not be read.
    """
    surface = None if isinstance(owned, Sender) else owned.request.surface
    return None if surface is None or not surface.told else surface.kind


def reply_of(owned: VerifiedRequest | Sender) -> ReplyAddress | None:
    """Where the job's end is replied to; None: nowhere, or its request may not be replied to."""
    reply = owned.envelope.reply
    try:
        if reply is not None:
            reply.check(owned.tenant)
    except ContractError:
        return None
    return reply


class RejectedJob(Rejected):
    """A bad record whose sender, tenant and job id are established.

    Raised by `Intake.verify`; the worker says `failed` to whoever waits for the job, and the record
    is dead-lettered like any other `Rejected`.
    """

    def __init__(self, sender: Sender, cause: Rejected) -> None:
        super().__init__(str(cause), code=cause.code, field=cause.field)
        self.sender = sender


class ProducerSecrets(Protocol):
    """Knows the signing secret of every producer, and for which tenants it may speak."""

    def secret_for(self, producer: str, *, tenant: str) -> bytes | None:
        """The secret; None if the producer is unknown, revoked, or may not speak for the tenant."""
        ...


class Intake:
    """Decodes and verifies request records. One instance per process; no I/O, no state.

    `secrets` None switches signatures off: for loopback development only.
    """

    def __init__(self, *, tasks: TaskCatalog, ids: JobIds, secrets: ProducerSecrets | None) -> None:
        self._tasks = tasks
        self._ids = ids
        self._secrets = secrets

    def verify(self, record: Record, *, topic: str | None = None) -> VerifiedRequest:
        """Establish who asks for what.

        `topic` is the request topic that the record was first read from, if it came by another.

        Raises:
            Rejected: `code` and `field` say what is wrong; the record belongs into the dead
                letters.
            RejectedJob: the same, where it is known whose job it would have been.
        """
        try:
            envelope, data = decode_event(record.headers, record.value)
            tenant = self._tenant(envelope)
            self._check_signature(envelope, data, tenant)
        except ContractError as error:
            raise Rejected(str(error), code=error.code, field=error.field) from error
        job = self._job_id(envelope, tenant)
        try:
            request = _request(data, envelope, tenant)
            task_type = self._task_type(request, topic or record.topic)
        except Rejected as error:
            sender = Sender(job, tenant, _user(envelope), envelope)
            raise RejectedJob(sender, error) from error
        return VerifiedRequest(
            job=job,
            tenant=tenant,
            user=request.user,
            task=request.task,
            task_type=task_type,
            request=request,
            created_at=envelope.time
            or datetime.fromtimestamp(max(record.timestamp_ms, 0) / 1000, tz=timezone.utc),
            envelope=envelope,
        )

    def _tenant(self, envelope: Envelope) -> str:
        if envelope.type != CE_REQUEST:
            raise Rejected(
                f"ce_type {envelope.type!r} is not {CE_REQUEST!r}",
                code="wrong_type",
                field="ce_type",
            )
        try:
            return _IDENTIFIER.validate_python(envelope.tenant)
        except ValidationError as error:
            raise Rejected(
                f"ce_tenant: {first_problem(error)}", code="bad_tenant", field="ce_tenant"
            ) from None

    def _check_signature(self, envelope: Envelope, data: bytes, tenant: str) -> None:
        if self._secrets is None:
            return
        if envelope.producer is None or envelope.signature is None:
            raise Rejected(
                "the event carries no ce_producer and ce_signature; create a producer with "
                "`penstock token create --producer` and sign as docs/direct-producers.md tells",
                code="unsigned",
                field="ce_signature",
            )
        secret = self._secrets.secret_for(envelope.producer, tenant=tenant)
        if secret is None or not signature_is_valid(envelope, data, secret=secret):
            raise Rejected(
                "the signature does not prove that this producer may speak for this tenant",
                code="bad_signature",
                field="ce_signature",
            )

    def _job_id(self, envelope: Envelope, tenant: str) -> str:
        derived = derived_job_id(tenant=tenant, source=envelope.source, event_id=envelope.id)
        if envelope.subject is None or envelope.subject == derived:
            return derived
        if self._ids.was_issued(envelope.subject, tenant=tenant):
            return envelope.subject
        raise Rejected(
            "ce_subject is no job id of this tenant; leave it out, the id follows from tenant,"
            " ce_source and ce_id",
            code="foreign_job",
            field="ce_subject",
        )

    def _task_type(self, request: JobRequest, topic: str) -> TaskType:
        task_type = self._tasks.get(request.task)
        if task_type is None:
            known = ", ".join(self._tasks.names)
            raise Rejected(
                f"task {request.task!r} is unknown; known tasks: {known}",
                code="unknown_task",
                field="task",
            )
        base = self._tasks.base_topic(request.task)
        own = (base, f"{base}.high", f"{base}.low")
        if topic not in own:
            raise Rejected(
                f"task {request.task!r} belongs to topic {base!r}, not {topic!r}",
                code="wrong_topic",
                field="task",
            )
        if request.charge is Charge.AT_MOST_ONCE and not task_type.allow_at_most_once:
            raise Rejected(
                f"task {request.task!r} does not allow charge at_most_once",
                code="charge_not_allowed",
                field="charge",
            )
        return task_type


def _request(data: bytes, envelope: Envelope, tenant: str) -> JobRequest:
    try:
        if envelope.reply is not None:
            envelope.reply.check(tenant)
        return decode_model(JobRequest, data)
    except ContractError as error:
        raise Rejected(str(error), code=error.code, field=error.field) from error


def _user(envelope: Envelope) -> str | None:
    """The user that the envelope names, if it is an identifier: it goes into an event header."""
    try:
        return _IDENTIFIER.validate_python(envelope.user)
    except ValidationError:
        return None
