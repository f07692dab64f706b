"""Who is told over HTTP what happened: the bodies of the two webhook topics.

`ai.webhooks.endpoints.v1` (compacted) holds for each endpoint three records with one writer each:

    <endpoint>              what its owner wants, written by gateway and command line
    <endpoint>/suspension   why deliveries stopped, written by the notifier
    <endpoint>/success      when a delivery last succeeded, at most one an hour, by the notifier

`ai.webhooks.deliveries.v1` holds one record per event and endpoint; its value is the body that is
sent, byte for byte.

Signing secrets are derived from the deployment's id secret, as those of producers are: they lie in
no record.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from penstock_contracts.models import Fact, Identifier, Timestamp

__all__ = [
    "WEBHOOK_EVENTS",
    "EventPattern",
    "SuspensionReason",
    "WebhookData",
    "WebhookEndpoint",
    "WebhookEvent",
    "WebhookRecord",
    "WebhookRecordAdapter",
    "WebhookSuccess",
    "WebhookSuspension",
    "is_endpoint_id",
    "is_known_pattern",
    "matches",
    "webhook_event_id",
    "webhook_key",
]

EventPattern = Annotated[
    str, StringConstraints(pattern=r"^(?:\*|[a-z][a-z0-9_]{0,31}(?:\.[a-z][a-z0-9_]{0,31}|\.\*))$")
]
"""An event type (`response.completed`), all of a family (`batch.*`), or all there are (`*`)."""

WEBHOOK_EVENTS: Final = (
    "response.completed",
    "response.failed",
    "response.incomplete",
    "response.cancelled",
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
)
"""Every event type that is told today; patterns reach later ones, too."""

_EVENT_TYPE = r"^[a-z][a-z0-9_]{0,31}\.[a-z][a-z0-9_]{0,31}$"
_ENDPOINT_ID: Final = re.compile(r"we_[0-9a-f]{32}")


class SuspensionReason(StrEnum):
    """Why the notifier stopped delivering to an endpoint; its owner can enable it again."""

    GONE = "gone"
    """It answered 410: nobody wants deliveries there any more."""
    FAILING = "failing"
    """Every delivery has failed for days, each over its whole schedule."""


class WebhookEndpoint(Fact):
    """An address that wants to be told of a tenant's events."""

    type: Literal["endpoint"] = "endpoint"
    id: str = Field(pattern=r"^we_[0-9a-f]{32}$")
    tenant: Identifier
    url: str = Field(max_length=2048)
    events: list[EventPattern] = Field(min_length=1, max_length=32)
    description: str = Field(default="", max_length=512)
    enabled: bool = True
    enablement: int = Field(
        default=1,
        ge=1,
        description="Grows each time it is enabled: an earlier suspension holds no longer.",
    )
    enabled_at: Timestamp
    generation: int = Field(default=1, ge=1, description="Of the signing secret.")
    rotated_at: Timestamp | None = None
    overlap_until: Timestamp | None = Field(
        default=None, description="Until then the secret before the present one signs, too."
    )
    rotation_key: str | None = Field(
        default=None, description="SHA-256 of the Idempotency-Key of the last rotation."
    )
    created_at: Timestamp
    fingerprint: str | None = Field(
        default=None,
        description="SHA-256 of the request that made it, where that had an Idempotency-Key.",
    )


class WebhookSuspension(Fact):
    """The notifier delivers nothing to the endpoint until its owner enables it again."""

    type: Literal["suspension"] = "suspension"
    endpoint: str
    tenant: Identifier
    enablement: int = Field(ge=1)
    reason: SuspensionReason
    at: Timestamp


class WebhookSuccess(Fact):
    """The endpoint took a delivery; told at most once an hour."""

    type: Literal["success"] = "success"
    endpoint: str
    tenant: Identifier
    at: Timestamp


WebhookRecord = Annotated[
    WebhookEndpoint | WebhookSuspension | WebhookSuccess, Field(discriminator="type")
]
WebhookRecordAdapter: TypeAdapter[WebhookRecord] = TypeAdapter(WebhookRecord)


class WebhookData(Fact):
    """Which object the event is about; it is fetched by its own address."""

    id: str


class WebhookEvent(Fact):
    """The body of a delivery, in the shape that `openai.webhooks.unwrap` reads."""

    id: str = Field(pattern=r"^evt_[0-9a-f]{32}$", description="The same over all retries.")
    object: Literal["event"] = "event"
    created_at: int = Field(description="Unix seconds.")
    type: str = Field(pattern=_EVENT_TYPE)
    data: WebhookData


def webhook_key(record: WebhookEndpoint | WebhookSuspension | WebhookSuccess) -> str:
    """The record key under which the topic keeps the newest word."""
    if isinstance(record, WebhookEndpoint):
        return record.id
    return f"{record.endpoint}/{record.type}"


def is_endpoint_id(text: str) -> bool:
    """Whether `text` has the form of an endpoint's id."""
    return _ENDPOINT_ID.fullmatch(text) is not None


def webhook_event_id(*, tenant: str, subject: str, event: str) -> str:
    """The id of an event: an object ends once, so the same end always has the same id.

    It is `evt_` + the first 32 hex digits of SHA-256 over `tenant LF subject LF event`.
    """
    text = f"{tenant}\n{subject}\n{event}"
    return "evt_" + hashlib.sha256(text.encode()).hexdigest()[:32]


def is_known_pattern(pattern: str) -> bool:
    """Whether the pattern matches any event that is told today; another is a typing error."""
    return any(matches(pattern, event) for event in WEBHOOK_EVENTS)


def matches(pattern: str, event: str) -> bool:
    """Whether an endpoint with this pattern wants events of this type."""
    return pattern in ("*", event) or (pattern.endswith(".*") and event.startswith(pattern[:-1]))
