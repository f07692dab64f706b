"""OpenAI's categories of moderation, and which models know which of them."""

from __future__ import annotations

from typing import Final

__all__ = ["CATEGORIES", "LEGACY_CATEGORIES", "MODELS", "PARENTS", "is_legacy"]

CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""Of the omni models, in the order of OpenAI's documentation."""

LEGACY_CATEGORIES: Final = tuple(name for name in CATEGORIES if not name.startswith("illicit"))
"""Of the text models."""

PARENTS: Final = {name: name.split("/")[0] for name in CATEGORIES if "/" in name}
"""What a narrow category is a case of: it cannot be likelier than that."""

MODELS: Final = (
    "omni-moderation-latest",
    "omni-moderation-2024-09-26",
    "text-moderation-latest",
    "text-moderation-stable",
    "text-moderation-007",
)
"""Names that OpenAI's clients send."""


def is_legacy(model: str | None) -> bool:
    """Whether the model is one of text alone, with fewer categories and no applied input types."""
    return model is not None and model.startswith("text-moderation")
