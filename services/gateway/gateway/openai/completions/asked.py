"""A completion as a chat of one message: providers behind this gateway speak chats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Self

from penstock_contracts.requests import TaskKind
from penstock_contracts.surface import Surface
from pydantic import Field, Tag, WithJsonSchema, model_validator

from gateway.errors import ApiError
from gateway.openai.asking import Ask, Follow
from gateway.openai.chat.body import LogitBias, Stop, StreamOptions
from gateway.openai.known_models import KnownModels
from gateway.openai.object_ids import COMPLETION_PREFIX
from gateway.openai.strict import Body, by_shape, complaint, read_body_as

__all__ = ["CompletionAsk", "CompletionBody", "CompletionStyle", "completion_ask"]

ROUTE: Final = "/v1/completions"
_DEFAULT_TOKENS: Final = 16
"""OpenAI's own, which surprises everybody; but code that relies on it must not get a novel."""
_PASSED_ON: Final = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "n",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "user",
)
_Prompt = Annotated[
    Annotated[str, Field(min_length=1), Tag("<string>")]
    | Annotated[
        list[Any],
        Field(min_length=1),
        WithJsonSchema(
            {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string"}}
        ),
        Tag("<array>"),
    ],
    by_shape("a string or array of strings"),
]


class CompletionBody(Body):
    """A completion to create."""

    refused: ClassVar[Mapping[str, str]] = {
        "suffix": "chat models do not insert text; put the whole task into the prompt",
    }

    model: str = Field(min_length=1, max_length=128)
    prompt: _Prompt
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=128)
    best_of: int | None = Field(default=None, ge=1, le=20)
    echo: bool | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    stop: Stop | None = None
    logprobs: int | None = Field(default=None, ge=0, le=5)
    logit_bias: LogitBias | None = None
    user: str | None = Field(default=None, max_length=512)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.stream_options is not None and not self.stream:
            text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            raise complaint("invalid_combination", text, at="stream_options")
        if self.best_of is not None and self.best_of != (self.n or 1):
            text = "Unsupported value: 'best_of' must be as 'n' here; leave it out."
            raise complaint("unsupported_value", text, at="best_of")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionStyle:
    """How the answer is to look; `echo` is the prompt where it is to be given back."""

    is_streamed: bool
    with_usage: bool
    echo: str


@dataclass(frozen=True, slots=True)
class CompletionAsk:
    """A checked request: its job, and the looks of its answer."""

    ask: Ask
    style: CompletionStyle


def completion_ask(value: Any, models: KnownModels) -> CompletionAsk:
    """Check a decoded body and say which job it stands for.

    Raises:
        ApiError: what is wrong with it, in OpenAI's words.
    """
    body = read_body_as(CompletionBody, value)
    models.require_chat(body.model)
    prompt = _prompt(body.prompt)
    params = {name: value[name] for name in _PASSED_ON if value.get(name) is not None}
    params["max_tokens"] = body.max_tokens or _DEFAULT_TOKENS
    if body.logprobs is not None:
        params |= {"logprobs": True, "top_logprobs": body.logprobs}
    ask = Ask(
        route=ROUTE,
        prefix=COMPLETION_PREFIX,
        task=TaskKind.CHAT.value,
        input={"messages": [{"role": "user", "content": prompt}]},
        model=body.model,
        params=params,
        surface=Surface(kind="completion"),
        follow=Follow.EVENTS if body.stream else Follow.END,
    )
    style = CompletionStyle(
        is_streamed=bool(body.stream),
        with_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
        echo=prompt if body.echo else "",
    )
    return CompletionAsk(ask, style)


def _prompt(given: str | list[Any]) -> str:
    if isinstance(given, str):
        return given
    if len(given) == 1 and isinstance(given[0], str) and given[0]:
        return given[0]
    message = (
        "Unsupported value: 'prompt' must be one text here; token lists are not supported, and "
        "several prompts are several requests, or a batch of chat completions."
    )
    raise ApiError("unsupported_value", message, param="prompt")
