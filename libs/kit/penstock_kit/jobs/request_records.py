"""The kept request of a job as a record of `ai.jobs.state.v1`, beside the job's state.

Request topics forget after days, a job lives for weeks. So what is kept of a request lies under a
key of its own in the compacted topic, written once, and a tombstone takes its place when the owner
deletes the job.
"""

from __future__ import annotations

from datetime import datetime

from penstock_contracts.catalog import CE_KEPT_REQUEST
from penstock_contracts.codec import decode_model
from penstock_contracts.envelope import Envelope, decode_event, encode_headers
from penstock_contracts.errors import ContractError
from penstock_contracts.surface import KeptRequest
from penstock_contracts.topics import STATE

from penstock_kit.errors import Rejected
from penstock_kit.jobs.facets import Facets
from penstock_kit.jobs.patches import JobPatch
from penstock_kit.kafka.ports import OutRecord, Record

__all__ = ["patch_of_kept_request", "request_record", "tells_of_request"]


def tells_of_request(patch: JobPatch) -> bool:
    """Whether `request_record` has anything to write: a request is to be kept, or forgotten."""
    return bool(patch.request) or patch.facets.deleted_ms is not None


def request_record(patch: JobPatch, *, now: datetime) -> OutRecord | None:
    """What the state topic has to hold of a job's request after a patch; None: nothing new."""
    if not tells_of_request(patch):
        return None
    envelope = Envelope(
        id=f"{patch.job}:request",
        source="/recorder",
        type=CE_KEPT_REQUEST,
        time=now,
        subject=patch.job,
        tenant=patch.tenant,
    )
    value = None if patch.facets.deleted_ms is not None else patch.request
    return OutRecord(STATE.name, _key(patch.job), value, encode_headers(envelope))


def patch_of_kept_request(record: Record) -> JobPatch:
    """What a kept request tells when it is read back.

    Raises:
        Rejected: it was not written by a recorder.
    """
    try:
        envelope, data = decode_event(record.headers, record.value)
        decode_model(KeptRequest, data)
    except ContractError as error:
        raise Rejected(str(error), code=error.code, field=error.field) from error
    tenant, job = envelope.tenant, envelope.subject
    if tenant is None or job is None or record.key != _key(job):
        raise Rejected("no kept request of a recorder's", code="schema_mismatch")
    return JobPatch(tenant, job, Facets(), request=data)


def _key(job: str) -> bytes:
    return f"{job}:request".encode()
