"""Whose record it says it is, for turns, rules and cancels: read of every record, proved by nobody.

What counts is what `Intake` will look at: `ce_` headers in binary mode, the envelope in the body in
structured mode, whatever headers say beside it.
"""

from __future__ import annotations

from typing import Final

from penstock_contracts.envelope import Envelope, decode_event
from penstock_contracts.errors import ContractError
from penstock_contracts.ids import derived_job_id

from penstock_kit.kafka.ports import Record

__all__ = ["job_claim_of", "needs_no_order", "tenant_of"]

_STRUCTURED: Final = b"application/cloudevents"


def tenant_of(record: Record) -> str | None:
    """Whose record it says it is; None if it does not say so."""
    tenant = None
    for name, value in record.headers:
        if name == "ce_tenant":
            tenant = value
        elif name == "content-type" and value and value.startswith(_STRUCTURED):
            return _tenant_of_envelope(record)
    return _tenant_of_envelope(record) if tenant is None else _text(tenant)


def job_claim_of(record: Record) -> tuple[str, str] | None:
    """Tenant and id of the job that the record says it asks for; None if it says none."""
    headers = _binary_headers(record)
    if headers is None:
        envelope = _envelope_of(record)
        return None if envelope is None else _job_of_envelope(envelope)
    tenant, subject = _text(headers["ce_tenant"]), headers.get("ce_subject")
    if subject is not None:
        return tenant, _text(subject)
    source, event_id = headers.get("ce_source"), headers.get("ce_id")
    if source is None or event_id is None:
        return None
    return _derived(tenant, _text(source), _text(event_id))


def needs_no_order(record: Record) -> bool:
    """Whether its key is that of its job alone: requests of a conversation have the conversation's.

    For records that do not tell their job's id nobody knows, so order counts.
    """
    headers = _binary_headers(record)
    if headers is not None:
        subject = headers.get("ce_subject")
    else:
        envelope = _envelope_of(record)
        told = None if envelope is None else envelope.subject
        subject = None if told is None else told.encode()
    return subject is not None and record.key == subject


def _binary_headers(record: Record) -> dict[str, bytes] | None:
    """The headers of a record in binary mode; None if its envelope must be looked for elsewhere."""
    headers = dict(record.headers)
    if headers.get("ce_tenant") is None:
        return None
    content_type = headers.get("content-type")
    is_structured = content_type is not None and content_type.startswith(_STRUCTURED)
    return None if is_structured else headers


def _tenant_of_envelope(record: Record) -> str | None:
    envelope = _envelope_of(record)
    return None if envelope is None else envelope.tenant


def _job_of_envelope(envelope: Envelope) -> tuple[str, str] | None:
    if envelope.tenant is None:
        return None
    if envelope.subject is not None:
        return envelope.tenant, envelope.subject
    return _derived(envelope.tenant, envelope.source, envelope.id)


def _derived(tenant: str, source: str, event_id: str) -> tuple[str, str]:
    return tenant, derived_job_id(tenant=tenant, source=source, event_id=event_id)


def _envelope_of(record: Record) -> Envelope | None:
    """What the intake would read; None if it would refuse the record."""
    try:
        envelope, _ = decode_event(record.headers, record.value)
    except ContractError:
        return None
    return envelope


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
