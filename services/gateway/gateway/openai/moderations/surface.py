"""`/v1/moderations` as a table."""

from __future__ import annotations

from typing import Final

from gateway.openai.moderations.models import ModerationBody, ModerationObject
from gateway.openai.strict import BODY_ERRORS
from gateway.route_specs import ALWAYS, AUTH_ERRORS, Good, RouteSpec

__all__ = ["MODERATIONS_SURFACE"]

MODERATIONS_SURFACE: Final = (
    RouteSpec(
        method="POST",
        path="/v1/moderations",
        handler="create_moderation",
        summary="Judge texts",
        about=(
            "By the rules of this deployment, or by the upstream that it is configured for; "
            "docs/openai.md tells what the scores mean. Images are refused."
        ),
        body=ModerationBody,
        good=(Good(200, "A verdict per input.", ModerationObject),),
        errors=(
            *AUTH_ERRORS,
            "malformed_json",
            "body_stalled",
            "body_too_large",
            "unsupported_media_type",
            "gateway_busy",
            *BODY_ERRORS,
            "model_not_found",
            "moderation_refused",
            "moderation_unavailable",
            *ALWAYS,
        ),
    ),
)
