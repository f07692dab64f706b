"""What one record tells of a job, as a patch to fold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import orjson
from penstock_contracts.catalog import ce_event_type
from penstock_contracts.codec import decode_json, encode_model, first_problem
from penstock_contracts.envelope import Envelope, decode_event
from penstock_contracts.errors import ContractError
from penstock_contracts.events import (
    Deleted,
    JobEvent,
    JobEventAdapter,
    JobStatus,
    Queued,
    Retrying,
    Started,
)
from penstock_contracts.ids import JobIds
from penstock_contracts.models import Identifier
from penstock_contracts.requests import JobRequest
from penstock_contracts.surface import KeptRequest
from pydantic import BaseModel, TypeAdapter, ValidationError

from penstock_kit.errors import Rejected
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.facets import (
    Ending,
    Facets,
    Meta,
    MetaRank,
    Progress,
    Start,
    join,
    milliseconds,
)
from penstock_kit.jobs.issued import may_belong
from penstock_kit.jobs.view import StoredEvent
from penstock_kit.kafka.ports import Record

__all__ = [
    "JobPatch",
    "join_patches",
    "patch_of_deletion",
    "patch_of_event",
    "patch_of_request",
]

_META = {
    "task",
    "user",
    "model",
    "priority",
    "conversation",
    "metadata",
    "deadline",
    "ends_by",
    "demoted",
}
_ENDING = {"model", "provider", "usage", "error", "output_ref"}
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


@dataclass(frozen=True, slots=True)
class JobPatch:
    """What some records tell of one job: facets to join, and events to keep for replay in order.

    Attributes:
        state_offset: set where this is what the state topic held at that offset.
        request: a `KeptRequest` as JSON where the request is to be kept, else empty.
    """

    tenant: str
    job: str
    facets: Facets
    events: tuple[StoredEvent, ...] = ()
    state_offset: int | None = None
    request: bytes = b""


def join_patches(patches: Iterable[JobPatch]) -> list[JobPatch]:
    """One patch per job, so that a batch touches each once; those of the state topic stay apart."""
    joined: dict[tuple[str, str, int | None], JobPatch] = {}
    for patch in patches:
        key = (patch.tenant, patch.job, patch.state_offset)
        earlier = joined.get(key)
        joined[key] = (
            patch
            if earlier is None
            else JobPatch(
                patch.tenant,
                patch.job,
                join(earlier.facets, patch.facets),
                earlier.events + patch.events,
                patch.state_offset,
                patch.request or earlier.request,
            )
        )
    return list(joined.values())


def patch_of_request(request: VerifiedRequest) -> JobPatch:
    """A job exists; what was asked is known for good."""
    asked: JobRequest = request.request
    body = _members(asked, _META) | {"created_at": _text(request.created_at)}
    meta = Meta(
        MetaRank.REQUEST, milliseconds(request.created_at), request.user, orjson.dumps(body)
    )
    kept = _kept(asked)
    return JobPatch(request.tenant, request.job, Facets(meta=meta), request=kept)


def patch_of_deletion(record: Record, *, ids: JobIds) -> JobPatch:
    """A job's content is to be gone.

    Raises:
        Rejected: as `patch_of_event`.
    """
    try:
        envelope, data = decode_event(record.headers, record.value)
        deleted = Deleted.model_validate(decode_json(data))
    except ContractError as error:
        raise Rejected(str(error), code=error.code, field=error.field) from error
    except ValidationError as error:
        problem = first_problem(error)
        raise Rejected(str(problem), code="schema_mismatch", field=problem.field) from None
    tenant = _identifier(envelope.tenant, "ce_tenant")
    if envelope.subject != deleted.job or record.key != deleted.job.encode():
        raise Rejected(
            "ce_subject or key contradict the body", code="contradiction", field="ce_subject"
        )
    _require_own(ids, deleted.job, tenant)
    return JobPatch(tenant, deleted.job, Facets(deleted_ms=milliseconds(deleted.at)))


def patch_of_event(record: Record, *, ids: JobIds) -> JobPatch:
    """What a record of `ai.jobs.events.v1` tells.

    Raises:
        Rejected: no job event, or its envelope, key, body and job id contradict each other.
    """
    try:
        envelope, data = decode_event(record.headers, record.value)
        event: JobEvent = JobEventAdapter.validate_python(decode_json(data))
    except ContractError as error:
        raise Rejected(str(error), code=error.code, field=error.field) from error
    except ValidationError as error:
        problem = first_problem(error)
        raise Rejected(str(problem), code="schema_mismatch", field=problem.field) from None
    tenant = _tenant_of(record, envelope, event, ids)
    facets = _facets_of(record, envelope, event, data)
    is_replayed = not facets.endings
    kept = (StoredEvent(event.position, event.type, data),) if is_replayed else ()
    return JobPatch(tenant, event.job, facets, kept)


def _tenant_of(record: Record, envelope: Envelope, event: JobEvent, ids: JobIds) -> str:
    tenant = _identifier(envelope.tenant, "ce_tenant")
    if envelope.user is not None:
        _identifier(envelope.user, "ce_user")
    contradictions = {
        "ce_type": envelope.type != ce_event_type(event.type),
        "ce_subject": envelope.subject != event.job,
        "ce_attempt": envelope.attempt not in (None, event.attempt),
        "ce_seq": envelope.seq not in (None, event.seq),
        "key": record.key != event.job.encode(),
    }
    for field, is_wrong in contradictions.items():
        if is_wrong:
            raise Rejected(
                f"{field} contradicts the body of the event", code="contradiction", field=field
            )
    _require_own(ids, event.job, tenant)
    return tenant


def _require_own(ids: JobIds, job: str, tenant: str) -> None:
    if not may_belong(ids, job, tenant):
        raise Rejected(
            "the job id was not issued for this tenant", code="foreign_job", field="ce_subject"
        )


def _kept(asked: JobRequest) -> bytes:
    if asked.surface is None or not asked.surface.kept:
        return b""
    kept = KeptRequest(surface=asked.surface, input=asked.input, input_ref=asked.input_ref)
    return encode_model(kept)


def _identifier(text: str | None, field: str) -> str:
    try:
        return _IDENTIFIER.validate_python(text)
    except ValidationError as error:
        problem = f"{field}: {first_problem(error)}"
        raise Rejected(problem, code="bad_identity", field=field) from None


def _facets_of(record: Record, envelope: Envelope, event: JobEvent, data: bytes) -> Facets:
    top = event.position
    if isinstance(event, Queued):
        body = _members(event, _META) | {"created_at": _text(event.at)}
        meta = Meta(MetaRank.QUEUED, milliseconds(event.at), event.user, orjson.dumps(body))
        return Facets(meta=meta, progress=_progress(event, JobStatus.QUEUED), top=top)
    if isinstance(event, Started):
        known = {"task": event.task, "user": envelope.user}
        meta = Meta(MetaRank.STARTED, milliseconds(event.at), envelope.user, orjson.dumps(known))
        return Facets(
            meta=meta,
            progress=_progress(event, JobStatus.RUNNING),
            starts=(Start(record.partition, record.offset, event.attempt),),
            started_ms=milliseconds(event.at),
            top=top,
            crashes=event.crashes or 0,
        )
    if isinstance(event, Retrying):
        return Facets(progress=_progress(event, JobStatus.RETRYING), top=top)
    if event.type in ("delta", "reset"):
        return Facets(top=top, has_output=event.type == "delta")
    return Facets(endings=(_ending(record, event, data),), top=top)


def _progress(event: JobEvent, status: JobStatus) -> Progress:
    body = {} if isinstance(event, Queued) else _members(event, {"model", "provider", "error"})
    return Progress(event.position, status, orjson.dumps(body), _until_ms(event))


def _until_ms(event: JobEvent) -> int:
    if isinstance(event, Started) and event.until is not None:
        return milliseconds(event.until)
    if isinstance(event, Retrying):
        return int(event.delay_s * 1000)  # no moment: the clock that wrote `at` may be hours wrong
    return 0


def _ending(record: Record, event: JobEvent, data: bytes) -> Ending:
    body = _members(event, _ENDING) | {"ended_at": _text(event.at)}
    status = JobStatus(event.type)
    return Ending(record.partition, record.offset, event.position, status, orjson.dumps(body), data)


def _members(model: BaseModel, names: set[str]) -> dict[str, Any]:
    return model.model_dump(mode="json", include=names, exclude_none=True)


def _text(at: datetime) -> str:
    utc = at.astimezone(timezone.utc)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
