"""Bodies of `/v1/webhook_endpoints`: what comes in, what goes out."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from penstock_contracts.webhooks import WEBHOOK_EVENTS, EventPattern, is_known_pattern
from penstock_kit.webhooks.endpoints import EndpointView
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field

from gateway.openai.strict import Body, complaint

__all__ = [
    "CreateWebhookEndpoint",
    "RotateWebhookSecret",
    "TestWebhookEndpoint",
    "UpdateWebhookEndpoint",
    "WebhookEndpointCreated",
    "WebhookEndpointDeleted",
    "WebhookEndpointList",
    "WebhookEndpointObject",
    "WebhookEventTypeList",
    "WebhookTestSent",
    "endpoint_object",
]

_SPELLINGS: Final = {"events": "event_types", "description": "name", "type": "event_type"}
"""Our name of a field, and that of the OpenAI SDK's `client.webhooks`; both are taken and given."""

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


def _spelled(field: str) -> AliasChoices:
    return AliasChoices(field, _SPELLINGS[field])


def _with_both_spellings(schema: dict[str, Any]) -> None:
    """Let the document declare the second spelling, which pydantic's own schema leaves out."""
    properties = schema["properties"]
    for own, other in _SPELLINGS.items():
        if own not in properties:
            continue
        about = f"Another spelling of `{own}`; send one of the two."
        properties[other] = {**properties[own], "description": about}
        schema.setdefault("allOf", []).append({"not": {"required": [own, other]}})


class _Spelled(Body):
    """A body some fields of which have two spellings; who sends both is refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra=_with_both_spellings)


class CreateWebhookEndpoint(_Spelled):
    """An address that wants to be told."""

    url: _Url
    events: _Events = Field(default_factory=lambda: ["*"], validation_alias=_spelled("events"))
    description: _Description = Field(default="", validation_alias=_spelled("description"))
    enabled: bool = True


class UpdateWebhookEndpoint(_Spelled):
    """What is to change; the rest stays. `enabled: true` also ends a suspension."""

    url: _Url | None = None
    events: _Events | None = Field(default=None, validation_alias=_spelled("events"))
    description: _Description | None = Field(default=None, validation_alias=_spelled("description"))
    enabled: bool | None = None


class RotateWebhookSecret(Body):
    """What becomes of the old secret."""

    keep_old_secret_active_for_24_hours: bool = Field(
        default=True,
        description="false: the old secret signs nothing more from now on. true, or left out: it"
        " signs beside the new one for the overlap of this deployment, 24 hours by default.",
    )


class TestWebhookEndpoint(_Spelled):
    """Which event a test delivery pretends to be."""

    type: EventType = Field(default="webhook.test", validation_alias=_spelled("type"))


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
    event_types: list[str] = Field(description="The same as `events`.")
    description: str
    name: str = Field(description="The same as `description`.")
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
    signing_secret: str | None = Field(description="The same as `secret`.")


class WebhookEndpointList(BaseModel):
    """Endpoints of the tenant, the newest first."""

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
    webhook_endpoint_id: str
    event_id: str
    type: EventType
    event_type: EventType = Field(description="The same as `type`.")
    success: Literal[True] = Field(
        default=True, description="The log has the delivery; it says nothing of the receiver."
    )
    status_code: None = Field(
        default=None, description="Always null: the receiver is asked after this answer."
    )


class WebhookEventTypeList(BaseModel):
    """Every type of event that is told."""

    object: Literal["list"] = "list"
    data: list[str]


def endpoint_object(view: EndpointView) -> dict[str, Any]:
    """An endpoint as callers see it."""
    endpoint, suspension = view.endpoint, view.suspension
    found: dict[str, Any] = {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "url": endpoint.url,
        "events": endpoint.events,
        "event_types": endpoint.events,
        "description": endpoint.description,
        "name": endpoint.description,
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
