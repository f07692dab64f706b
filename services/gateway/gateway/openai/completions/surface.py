"""`/v1/completions` as a table."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from gateway.openai.chat.documents import UsageBody
from gateway.openai.completions.asked import CompletionBody
from gateway.openai.route_parts import CREATE_ERRORS, CREATED_HEADERS
from gateway.route_specs import CANCEL_AFTER, IDEMPOTENCY_KEY, Good, RouteSpec

__all__ = ["COMPLETIONS_SURFACE"]


class CompletionChoice(BaseModel):
    """One of `n` texts."""

    index: int
    text: str
    logprobs: dict[str, list[Any]] | None
    finish_reason: str


class TextCompletionBody(BaseModel):
    """A completion."""

    model_config = ConfigDict(title="Completion")

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageBody | None
    system_fingerprint: str | None


COMPLETIONS_SURFACE: Final = (
    RouteSpec(
        method="POST",
        path="/v1/completions",
        handler="create_completion",
        summary="Create a completion",
        about=(
            "OpenAI's API before chats: the prompt becomes the message of a chat. One text per "
            "request. With `stream` the answer is `text/event-stream`, ended by `data: [DONE]`."
        ),
        body=CompletionBody,
        parameters=(IDEMPOTENCY_KEY, CANCEL_AFTER),
        good=(
            Good(
                200,
                "The completion, or with `stream` its chunks.",
                TextCompletionBody,
                headers=CREATED_HEADERS,
                also_streams=True,
            ),
        ),
        errors=CREATE_ERRORS,
    ),
)
