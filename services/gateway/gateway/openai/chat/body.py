"""The body of `POST /v1/chat/completions`: OpenAI's fields, each taken, passed on or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, Tag, model_validator

from gateway.openai.chat.calls import check_calls
from gateway.openai.chat.messages import Message, says_json
from gateway.openai.chat.tools import AnyFormat, NamedChoice, Tool, ToolChoice
from gateway.openai.strict import Body, by_shape, complaint, not_these, refused_value

__all__ = ["ChatBody", "LogitBias", "Metadata", "ServiceTier", "Stop", "StreamOptions"]

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
ServiceTier = Annotated[
    Literal["auto", "default", "flex", "scale", "priority", "fast"],
    not_these(("ultrafast",), "no lane is faster than that of 'priority'"),
]
Stop = Annotated[
    Annotated[str, Tag("<string>")]
    | Annotated[list[str], Field(min_length=1, max_length=4), Tag("<array>")],
    by_shape("a string or array of strings"),
]


def _of_tokens(bias: dict[str, float]) -> dict[str, float]:
    if not all(key.isascii() and key.isdigit() for key in bias):
        text = "Invalid key in 'logit_bias': keys are ids of tokens, whole numbers from 0."
        raise complaint("invalid_combination", text)
    return bias


LogitBias = Annotated[
    dict[str, Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=1024),
    AfterValidator(_of_tokens),
]


class StreamOptions(Body):
    """How to stream."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[
        bool | None, not_these((True,), "pieces of a stream are not padded")
    ] = None


def _text_alone(value: Any) -> Any:
    if isinstance(value, list) and "audio" in value:
        raise refused_value("'audio'", "answers here are text; leave modalities out")
    return value


class ChatBody(Body):
    """A chat completion to create."""

    refused: ClassVar[Mapping[str, str]] = {
        "audio": "answers here are text",
        "functions": "it is deprecated; use tools",
        "function_call": "it is deprecated; use tool_choice",
        "moderation": "use POST /v1/moderations before the call",
        "prediction": "providers behind this gateway do not take predicted outputs",
        "prompt_cache_options": "providers decide themselves what they keep of a prompt",
        "prompt_cache_retention": "providers decide themselves how long they keep a prompt",
        "web_search_options": "nothing here searches the web; declare a function for it",
    }

    model: str = Field(min_length=1, max_length=128)
    messages: list[Message] = Field(min_length=1, max_length=2048)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=128)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    stop: Stop | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    logit_bias: LogitBias | None = None
    tools: list[Tool] | None = Field(default=None, min_length=1, max_length=128)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: AnyFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    verbosity: Literal["low", "medium", "high"] | None = None
    modalities: Annotated[list[Literal["text"]] | None, BeforeValidator(_text_alone)] = None
    metadata: Metadata | None = None
    service_tier: ServiceTier | None = None
    store: bool | None = None
    user: str | None = Field(default=None, max_length=512)
    safety_identifier: str | None = Field(default=None, max_length=512)
    prompt_cache_key: str | None = Field(default=None, max_length=512)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.stream_options is not None and not self.stream:
            text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            raise complaint("invalid_combination", text, at="stream_options")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            text = (
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not "
                "supported; set max_completion_tokens."
            )
            raise complaint("invalid_combination", text, at="max_tokens")
        if self.top_logprobs is not None and not self.logprobs:
            text = "'top_logprobs' is only allowed when 'logprobs' is true."
            raise complaint("invalid_combination", text, at="top_logprobs")
        self._check_tools()
        self._check_format()
        check_calls(self.messages)
        return self

    def _check_tools(self) -> None:
        if not self.tools:
            for name in ("tool_choice", "parallel_tool_calls"):
                if getattr(self, name) is not None:
                    text = (
                        f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are "
                        "specified."
                    )
                    raise complaint("invalid_combination", text, at=name)
            return
        chosen = self.tool_choice
        names = {tool.function.name for tool in self.tools}
        if isinstance(chosen, NamedChoice) and chosen.function.name not in names:
            text = f"Tool choice '{chosen.function.name}' not found in 'tools' parameter."
            raise complaint("invalid_combination", text, at="tool_choice")

    def _check_format(self) -> None:
        asked = self.response_format
        if asked is None or asked.type != "json_object" or says_json(self.messages):
            return
        text = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of "
            "type 'json_object'."
        )
        raise complaint("invalid_combination", text, at="messages")
