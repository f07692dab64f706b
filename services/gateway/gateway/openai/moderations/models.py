"""Bodies of `POST /v1/moderations`: what comes in, what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from gateway.openai.moderations.categories import (
    CATEGORIES,
    LEGACY_CATEGORIES,
    is_legacy,
)
from gateway.openai.moderations.ports import Judgement, Verdict
from gateway.openai.strict import Body, by_shape, refused_value

__all__ = ["ModerationBody", "ModerationObject", "moderation", "texts_of"]

MAX_TEXTS: Final = 2048
MAX_CHARS: Final = 1_000_000
"""Of one text: what the rules read in about a second."""

_Text = Annotated[str, Field(max_length=MAX_CHARS)]


class _Part(Body):
    """One piece of an input that may hold text and images."""

    type: Literal["text", "image_url"]
    text: _Text | None = None
    image_url: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_text(self) -> _Part:
        if self.type == "image_url":
            reason = "this deployment judges text alone; leave images out"
            raise refused_value("an image", reason, at="type")
        if self.text is None:
            raise ValueError("a part of type 'text' needs 'text'")
        return self


_Entry = Annotated[
    Annotated[_Text, Tag("<string>")] | Annotated[_Part, Tag("<object>")],
    by_shape("a string or an object with type and text"),
]


class ModerationBody(Body):
    """What is to be judged. Strings are judged one by one; parts are one input together."""

    input: Annotated[
        Annotated[_Text, Tag("<string>")]
        | Annotated[list[_Entry], Field(min_length=1, max_length=MAX_TEXTS), Tag("<array>")],
        by_shape("a string or an array of strings or parts"),
    ]
    model: Annotated[str, Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> ModerationBody:
        if isinstance(self.input, list) and len({type(entry) for entry in self.input}) > 1:
            text = (
                "Invalid 'input': give an array of strings or an array of parts, not both in one."
            )
            raise PydanticCustomError("invalid_value", text, {"at": "input"})
        return self


def texts_of(body: ModerationBody) -> list[str]:
    """The texts to judge: one verdict each."""
    if isinstance(body.input, str):
        return [body.input]
    parts = [entry.text or "" for entry in body.input if isinstance(entry, _Part)]
    if parts:
        return ["\n".join(parts)]
    return [entry for entry in body.input if isinstance(entry, str)]


class ModerationResult(BaseModel):
    """What one input contains."""

    flagged: bool
    categories: dict[str, bool] = Field(description="By category, whether it was found.")
    category_scores: dict[str, float] = Field(
        description="0 to 1. Of our rules: what the rules that matched add up to, 0 where none did."
    )
    category_applied_input_types: dict[str, list[str]] | None = Field(
        default=None, description="What each score was taken from; absent for text models."
    )
    penstock: dict[str, Any] | None = Field(
        default=None, description="`pii`: personal data by kind, and how often; absent without."
    )


class ModerationObject(BaseModel):
    """The answer of OpenAI's API."""

    id: str
    model: str
    results: list[ModerationResult]


def moderation(moderation_id: str, judgement: Judgement, *, asked: str | None) -> dict[str, Any]:
    """The object as OpenAI gives it for the model that was asked for."""
    return {
        "id": moderation_id,
        "model": judgement.model,
        "results": [_result(verdict, is_old=is_legacy(asked)) for verdict in judgement.verdicts],
    }


def _result(verdict: Verdict, *, is_old: bool) -> dict[str, Any]:
    names = LEGACY_CATEGORIES if is_old else CATEGORIES
    found = {name: name in verdict.flagged for name in names}
    result: dict[str, Any] = {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": {name: verdict.scores.get(name, 0.0) for name in names},
    }
    if not is_old:
        # Images are refused, so every score is of text; OpenAI names text alone here then, too.
        result["category_applied_input_types"] = {name: ["text"] for name in names}
    if verdict.pii:
        result["penstock"] = {"pii": dict(verdict.pii)}
    return result
