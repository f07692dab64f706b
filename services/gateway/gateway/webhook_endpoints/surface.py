"""`/v1/webhook_endpoints` as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.openai.strict import BODY_ERRORS
from gateway.route_specs import ALWAYS, AUTH_ERRORS, Good, RouteSpec, header, query
from gateway.webhook_endpoints.endpoints import MOST_ON_A_PAGE
from gateway.webhook_endpoints.models import (
    CreateWebhookEndpoint,
    RotateWebhookSecret,
    TestWebhookEndpoint,
    UpdateWebhookEndpoint,
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointList,
    WebhookEndpointObject,
    WebhookEventTypeList,
    WebhookTestSent,
)

__all__ = ["WEBHOOKS_SURFACE"]

_COLLECTION: Final = "/v1/webhook_endpoints"
_ONE: Final = "/v1/webhook_endpoints/{endpoint}"
_ENDPOINT: Final = {
    "name": "endpoint",
    "in": "path",
    "required": True,
    "description": "Id of the endpoint.",
    "schema": {"type": "string", "pattern": "^we_[0-9a-f]{32}$"},
}
_KEY: Final = header(
    "Idempotency-Key",
    "The same key with the same body gives the same answer, its secret included, for 24 hours.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
)
_ALLOWED: Final = (*AUTH_ERRORS, "insufficient_scope", *ALWAYS)
_KNOWN: Final = (*_ALLOWED, "webhook_endpoint_not_found")
_WRITTEN: Final = (
    "malformed_json",
    "body_stalled",
    "body_too_large",
    "unsupported_media_type",
    "gateway_busy",
    *BODY_ERRORS,
    "broker_busy",
)

_CHANGE: Final = RouteSpec(
    method="PATCH",
    path=_ONE,
    handler="update_webhook_endpoint",
    summary="Change a webhook endpoint",
    about="Members that are left out stay. `enabled: true` also ends a suspension.",
    body=UpdateWebhookEndpoint,
    parameters=(_ENDPOINT,),
    good=(Good(200, "The endpoint as it is now.", WebhookEndpointObject),),
    errors=(*_KNOWN, *_WRITTEN),
)

WEBHOOKS_SURFACE: Final = (
    RouteSpec(
        method="POST",
        path=_COLLECTION,
        handler="create_webhook_endpoint",
        summary="Make a webhook endpoint",
        about=(
            "Deliveries follow Standard Webhooks: signed, tried again for three days, with a thin "
            "body that `openai`'s `client.webhooks.unwrap` reads. The secret is shown this once."
        ),
        body=CreateWebhookEndpoint,
        parameters=(_KEY,),
        good=(
            Good(
                201,
                "The endpoint with its secret.",
                WebhookEndpointCreated,
                headers=("Idempotent-Replayed",),
            ),
        ),
        errors=(
            *_ALLOWED,
            *_WRITTEN,
            "invalid_parameter",
            "idempotency_key_reused",
            "too_many_webhook_endpoints",
        ),
    ),
    RouteSpec(
        method="GET",
        path=_COLLECTION,
        handler="list_webhook_endpoints",
        summary="List webhook endpoints",
        about="Those of the tenant, the newest first; all of them where no limit is given.",
        parameters=(
            query("after", "Id of the last endpoint of the page before.", {"type": "string"}),
            query(
                "limit",
                "At most so many.",
                {"type": "integer", "minimum": 1, "maximum": MOST_ON_A_PAGE},
            ),
        ),
        good=(Good(200, "The endpoints.", WebhookEndpointList),),
        errors=(
            *_ALLOWED,
            "unknown_parameter",
            "invalid_value",
            "invalid_type",
            "integer_below_min_value",
            "integer_above_max_value",
        ),
    ),
    RouteSpec(
        method="GET",
        path=_ONE,
        handler="get_webhook_endpoint",
        summary="Look at a webhook endpoint",
        about="Without its secret, which is never shown again.",
        parameters=(_ENDPOINT,),
        good=(Good(200, "The endpoint.", WebhookEndpointObject),),
        errors=(*_KNOWN, "broker_busy"),
    ),
    _CHANGE,
    replace(
        _CHANGE,
        method="POST",
        handler="modify_webhook_endpoint",
        summary="Change a webhook endpoint, as the OpenAI SDK does",
        about="The same as PATCH.",
    ),
    RouteSpec(
        method="DELETE",
        path=_ONE,
        handler="delete_webhook_endpoint",
        summary="Delete a webhook endpoint",
        about="What is still to be delivered to it is dropped.",
        parameters=(_ENDPOINT,),
        good=(Good(200, "It is gone.", WebhookEndpointDeleted),),
        errors=(*_KNOWN, "broker_busy"),
    ),
    RouteSpec(
        method="POST",
        path=f"{_ONE}/rotate_secret",
        handler="rotate_webhook_secret",
        summary="Rotate the signing secret",
        about=(
            "The old secret signs beside the new one for 24 hours, or not at all where the body "
            "says `keep_old_secret_active_for_24_hours: false`. Another rotation before that makes "
            "the oldest secret void at once."
        ),
        body=RotateWebhookSecret,
        parameters=(_ENDPOINT, _KEY),
        good=(
            Good(
                200,
                "The endpoint with its new secret.",
                WebhookEndpointCreated,
                headers=("Idempotent-Replayed",),
            ),
        ),
        errors=(*_KNOWN, *_WRITTEN, "invalid_parameter", "idempotency_key_reused"),
    ),
    RouteSpec(
        method="POST",
        path=f"{_ONE}/test",
        handler="test_webhook_endpoint",
        summary="Send a test delivery",
        about="One signed delivery, whatever the filter; it is tried again like any other.",
        body=TestWebhookEndpoint,
        parameters=(_ENDPOINT,),
        good=(Good(202, "It is on its way.", WebhookTestSent),),
        errors=(*_KNOWN, *_WRITTEN, "webhook_endpoint_disabled"),
    ),
    RouteSpec(
        method="GET",
        path="/v1/webhook_event_types",
        handler="list_webhook_event_types",
        summary="List types of webhook events",
        about="Everything that an endpoint can be told; `events` takes these and their patterns.",
        good=(Good(200, "The types.", WebhookEventTypeList),),
        errors=(*AUTH_ERRORS, *ALWAYS),
    ),
)
