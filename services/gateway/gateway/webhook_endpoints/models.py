"""Bodies of `/v1/webhook_endpoints`: what comes in, what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from penstock_contracts.webhooks import WEBHOOK_EVENTS, EventPattern, is_known_pattern
from penstock_kit.webhooks.endpoints import EndpointView
from pydantic import AfterValidator, BaseModel, Field

from gateway.openai.strict import Body, complaint

__all__ = [
    "CreateWebhookEndpoint",
    "TestWebhookEndpoint",
    "UpdateWebhookEndpoint",
    "WebhookEndpointCreated",
    "WebhookEndpointDeleted",
    "WebhookEndpointList",
    "WebhookEndpointObject",
    "WebhookTestSent",
    "endpoint_object",
]

EventType = Literal[
    "webhook.test",
    "response.completed",
    "response.failed",
    "response.incomplete",
    "response.cancelled",
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
]


def _known(pattern: str) -> str:
    if not is_known_pattern(pattern):
        raise complaint(
            "invalid_value",
            "Invalid event: nothing of that name is ever told. Supported values are: '*',"
            f" 'response.*', 'batch.*', {', '.join(repr(name) for name in WEBHOOK_EVENTS)}.",
        )
    return pattern


_Events = Annotated[
    list[Annotated[EventPattern, AfterValidator(_known)]],
    Field(min_length=1, max_length=32, description="Event types, `response.*`, `batch.*` or `*`."),
]
_Url = Annotated[
    str, Field(min_length=1, max_length=2048, description="https, on a public address.")
]
_Description = Annotated[str, Field(max_length=512)]


class CreateWebhookEndpoint(Body):
    """An address that wants to be told."""

    url: _Url
    events: _Events = Field(default_factory=lambda: ["*"])
    description: _Description = ""
    enabled: bool = True


class UpdateWebhookEndpoint(Body):
    """What is to change; the rest stays. `enabled: true` also ends a suspension."""

    url: _Url | None = None
    events: _Events | None = None
    description: _Description | None = None
    enabled: bool | None = None


class TestWebhookEndpoint(Body):
    """Which event a test delivery pretends to be."""

    type: EventType = "webhook.test"


class Suspended(BaseModel):
    """Why we stopped delivering."""

    reason: Literal["gone", "failing"] = Field(
        description="gone: it answered 410; failing: nothing got through for days."
    )
    at: int = Field(description="Unix seconds.")


class WebhookEndpointObject(BaseModel):
    """An endpoint, without its secret."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    events: list[str]
    description: str
    enabled: bool = Field(description="Whether its owner wants deliveries.")
    suspended: Suspended | None = Field(
        description="Set while nothing is delivered though it is enabled."
    )
    created_at: int = Field(description="Unix seconds.")
    secret_rotated_at: int | None
    old_secret_signs_until: int | None = Field(
        description="While a rotation is under way, both secrets sign."
    )
    last_success_at: int | None = Field(description="To the hour.")


class WebhookEndpointCreated(WebhookEndpointObject):
    """An endpoint with its signing secret, which is shown this once."""

    secret: str | None = Field(
        description="`whsec_...`; null where a repeated request comes too late to see it again."
    )


class WebhookEndpointList(BaseModel):
    """Every endpoint of the tenant, the newest first."""

    object: Literal["list"] = "list"
    data: list[WebhookEndpointObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class WebhookEndpointDeleted(BaseModel):
    """The endpoint is gone; what was still to be delivered to it is dropped."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: bool


class WebhookTestSent(BaseModel):
    """A test delivery is on its way; `event_id` comes as `webhook-id`."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    event_id: str
    type: EventType


def endpoint_object(view: EndpointView) -> dict[str, Any]:
    """An endpoint as callers see it."""
    endpoint, suspension = view.endpoint, view.suspension
    found: dict[str, Any] = {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "url": endpoint.url,
        "events": endpoint.events,
        "description": endpoint.description,
        "enabled": endpoint.enabled,
        "suspended": None,
        "created_at": int(endpoint.created_at.timestamp()),
        "secret_rotated_at": _seconds(endpoint.rotated_at),
        "old_secret_signs_until": _seconds(endpoint.overlap_until),
        "last_success_at": _seconds(view.last_success_at),
    }
    if suspension is not None and endpoint.enabled:
        found["suspended"] = {"reason": suspension.reason.value, "at": _seconds(suspension.at)}
    return found


def _seconds(at: Any) -> int | None:
    return None if at is None else int(at.timestamp())
