"""What chat answers look like, for the OpenAPI document alone."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["ChatCompletionBody", "UsageBody"]


class UsageBody(BaseModel):
    """Tokens of all attempts of the job: what was charged."""

    model_config = ConfigDict(title="CompletionUsage")

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class CalledFunctionBody(BaseModel):
    """A function that the model calls; `arguments` is JSON as the model wrote it."""

    name: str
    arguments: str


class ToolCallBody(BaseModel):
    """A tool call."""

    id: str
    type: Literal["function"]
    function: CalledFunctionBody


class AnswerMessageBody(BaseModel):
    """What the model says."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[Any]
    reasoning_content: str | None = None
    tool_calls: list[ToolCallBody] | None = None


class LogprobsBody(BaseModel):
    """Probabilities of tokens, as the provider shapes them."""

    content: list[Any] | None
    refusal: list[Any] | None


class ChatChoiceBody(BaseModel):
    """One of `n` answers."""

    index: int
    message: AnswerMessageBody
    logprobs: LogprobsBody | None
    finish_reason: str


class ChatCompletionBody(BaseModel):
    """A chat completion."""

    model_config = ConfigDict(title="ChatCompletion")

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoiceBody]
    usage: UsageBody | None
    service_tier: str
    system_fingerprint: str | None
    metadata: dict[str, str] | None = None
