"""The records of files and batches as they are written, and how they stand on a shelf."""

from __future__ import annotations

from datetime import datetime, timedelta

from penstock_contracts.batches import (
    BatchChanged,
    BatchLineEnded,
    BatchRequest,
    BatchState,
    BatchStatus,
)
from penstock_contracts.catalog import CE_BATCH, CE_BATCH_EVENT, CE_BATCH_REQUEST, CE_FILE
from penstock_contracts.codec import decode_model, encode_model
from penstock_contracts.envelope import Envelope, encode_headers, sign
from penstock_contracts.files import FileRecord
from penstock_contracts.topics import BATCH_EVENTS, BATCH_REQUESTS, BATCHES, FILES

from penstock_kit.batches.shelf import Shelved
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.tenancy import TenantScope

__all__ = [
    "SOURCE",
    "batch_is_over",
    "batch_record",
    "event_record",
    "file_record",
    "file_tombstone",
    "first_state",
    "request_record",
    "shelved_batch",
    "shelved_file",
]

SOURCE = "/penstock/gateway"
_KEPT = timedelta(days=30)
"""How long a batch can be looked at; its topic keeps it as long."""
_AFTERWARDS = timedelta(days=2)
"""An expired file stays on the shelf until its content is surely deleted."""


def file_record(file: FileRecord) -> OutRecord:
    """A file that is stored."""
    envelope = Envelope(
        id=file.id,
        source=SOURCE,
        type=CE_FILE,
        time=file.created_at,
        subject=file.id,
        tenant=file.tenant,
        user=file.user,
    )
    return OutRecord(FILES.name, file.id.encode(), encode_model(file), encode_headers(envelope))


def file_tombstone(file: FileRecord) -> OutRecord:
    """The file is gone; the tenant stands in the headers, for there is no body."""
    headers = [("ce_tenant", file.tenant.encode())]
    return OutRecord(FILES.name, file.id.encode(), None, headers)


def request_record(request: BatchRequest, *, producer: str, secret: bytes) -> OutRecord:
    """The one durable write of a batch, signed: whoever runs it acts in the tenant's name."""
    value = encode_model(request)
    envelope = Envelope(
        id=request.id,
        source=SOURCE,
        type=CE_BATCH_REQUEST,
        time=request.created_at,
        subject=request.id,
        tenant=request.tenant,
        user=request.user,
        producer=producer,
    )
    signature = sign(envelope, value, secret=secret)
    headers = [*encode_headers(envelope), ("ce_signature", signature.encode())]
    return OutRecord(BATCH_REQUESTS.name, request.id.encode(), value, headers)


def batch_record(state: BatchState, now: datetime) -> OutRecord:
    """What is known of a batch by now."""
    request = state.request
    envelope = Envelope(
        id=f"{request.id}:{state.version}",
        source=SOURCE,
        type=CE_BATCH,
        time=now,
        subject=request.id,
        tenant=request.tenant,
        user=request.user,
    )
    return OutRecord(
        BATCHES.name, request.id.encode(), encode_model(state), encode_headers(envelope)
    )


def event_record(request: BatchRequest, event: BatchChanged | BatchLineEnded) -> OutRecord:
    """Something has happened to a batch or one of its lines."""
    envelope = Envelope(
        id=f"{request.id}:{event.sequence_number}",
        source=SOURCE,
        type=CE_BATCH_EVENT,
        time=event.at,
        subject=request.id,
        tenant=request.tenant,
        user=request.user,
        seq=event.sequence_number,
    )
    return OutRecord(
        BATCH_EVENTS.name, request.id.encode(), encode_model(event), encode_headers(envelope)
    )


def batch_is_over(value: bytes) -> bool:
    """Whether this state of a batch, as it stands on its shelf, is the last one."""
    return decode_model(BatchState, value).status.is_terminal


def first_state(request: BatchRequest) -> BatchState:
    """What is known of a batch that was only just asked for."""
    return BatchState(request=request, version=1, status=BatchStatus.VALIDATING)


def shelved_file(file: FileRecord) -> Shelved:
    """A file as it stands on its shelf."""
    return Shelved(
        scope=TenantScope(file.tenant),
        user=file.user,
        id=file.id,
        version=1,
        created_at=file.created_at,
        keep_until=file.expires_at + _AFTERWARDS,
        value=encode_model(file),
        due_at=file.expires_at,
    )


def shelved_batch(state: BatchState) -> Shelved:
    """A batch as it stands on its shelf."""
    request = state.request
    return Shelved(
        scope=TenantScope(request.tenant),
        user=request.user,
        id=request.id,
        version=state.version,
        created_at=request.created_at,
        keep_until=request.created_at + _KEPT,
        value=encode_model(state),
    )
