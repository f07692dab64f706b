"""Records of `ai.webhooks.deliveries.v1`: one event for one endpoint, its body as it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from penstock_contracts.catalog import CE_WEBHOOK_EVENT
from penstock_contracts.codec import dumps
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.topics import WEBHOOK_DELIVERIES
from penstock_contracts.webhooks import is_endpoint_id, webhook_event_id

from penstock_kit.errors import Rejected
from penstock_kit.kafka.ports import OutRecord, Record

__all__ = ["Notice", "WebhookDelivery", "delivery_record", "read_delivery"]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that endpoints may want to be told.

    Attributes:
        event: type of the event, for example `response.completed`.
        subject: id of the object that it is about.
    """

    tenant: str
    event: str
    subject: str
    at: datetime

    @property
    def id(self) -> str:
        """The event's id: the same however often this is noticed."""
        return webhook_event_id(tenant=self.tenant, subject=self.subject, event=self.event)

    def body(self) -> bytes:
        """What is sent, byte for byte, to every endpoint and at every try."""
        return dumps(
            {
                "id": self.id,
                "object": "event",
                "created_at": int(self.at.timestamp()),
                "type": self.event,
                "data": {"id": self.subject},
            }
        )


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """What a delivery record says."""

    endpoint: str
    tenant: str
    event_id: str
    body: bytes


def delivery_record(notice: Notice, endpoint_id: str, *, source: str) -> OutRecord:
    """The record that has the notice delivered to the endpoint."""
    envelope = Envelope(
        id=notice.id,
        source=source,
        type=CE_WEBHOOK_EVENT,
        time=notice.at,
        subject=endpoint_id,
        tenant=notice.tenant,
        extra={"webhook": notice.event},
    )
    return OutRecord(
        topic=WEBHOOK_DELIVERIES.name,
        key=endpoint_id.encode(),
        value=notice.body(),
        headers=encode_headers(envelope),
    )


def read_delivery(record: Record) -> WebhookDelivery:
    """The inverse, as far as delivering needs it; the body stays untouched.

    Raises:
        Rejected: the record was not written by `delivery_record`.
    """
    named = dict(record.headers)
    try:
        endpoint = named["ce_subject"].decode("ascii")
        tenant = named["ce_tenant"].decode("ascii")
        event_id = named["ce_id"].decode("ascii")
    except (KeyError, ValueError) as error:
        raise Rejected(
            f"a header is missing or broken ({type(error).__name__}); only notifiers and gateways"
            " write deliveries",
            code="bad_delivery",
        ) from error
    if named.get("ce_type") != CE_WEBHOOK_EVENT.encode() or not is_endpoint_id(endpoint):
        raise Rejected("ce_type or ce_subject is not that of a delivery", code="bad_delivery")
    if not record.value or not event_id.startswith("evt_"):
        raise Rejected("the delivery has no body or no event id", code="bad_delivery")
    return WebhookDelivery(endpoint, tenant, event_id, record.value)
