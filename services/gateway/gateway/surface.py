"""The whole API as tables, by area: each area has its own endpoints and its own builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.openai.batches.surface import BATCHES_SURFACE
from gateway.openai.chat.surface import CHAT_SURFACE
from gateway.openai.completions.surface import COMPLETIONS_SURFACE
from gateway.openai.conversations.surface import CONVERSATIONS_SURFACE
from gateway.openai.embeddings.surface import EMBEDDINGS_SURFACE
from gateway.openai.files.surface import FILES_SURFACE
from gateway.openai.models.surface import MODELS_SURFACE
from gateway.openai.moderations.surface import MODERATIONS_SURFACE
from gateway.openai.responses.surface import RESPONSES_SURFACE
from gateway.route_specs import RouteSpec
from gateway.surface_of_jobs import JOBS_SURFACE
from gateway.webhook_endpoints.surface import WEBHOOKS_SURFACE

__all__ = ["AREAS", "SURFACE"]

AREAS: Final[Mapping[str, tuple[RouteSpec, ...]]] = {
    "jobs": JOBS_SURFACE,
    "openai.chat": CHAT_SURFACE,
    "openai.moderations": MODERATIONS_SURFACE,
    "openai.completions": COMPLETIONS_SURFACE,
    "openai.embeddings": EMBEDDINGS_SURFACE,
    "openai.models": MODELS_SURFACE,
    "openai.responses": RESPONSES_SURFACE,
    "webhooks": WEBHOOKS_SURFACE,
    "openai.files": FILES_SURFACE,
    "openai.batches": BATCHES_SURFACE,
    "openai.conversations": CONVERSATIONS_SURFACE,
}
SURFACE: Final = tuple(spec for specs in AREAS.values() for spec in specs)
