"""The body of `POST /v1/responses`: OpenAI's fields, each taken, passed on or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, Tag, model_validator

from gateway.openai.chat.body import Metadata, ServiceTier
from gateway.openai.responses.items import Input
from gateway.openai.responses.tools import NamedChoice, Text, Tool, ToolChoice
from gateway.openai.strict import Body, by_shape, complaint, not_here, not_these, refused_value

__all__ = ["ResponseBody"]

_PROVIDERS = "providers behind this gateway decide it themselves"


class StreamOptions(Body):
    """How to stream."""

    include_obfuscation: Annotated[
        bool | None, not_these((True,), "events of a stream are not padded")
    ] = None


_Summary = Annotated[
    Literal["auto"] | None,
    not_these(("concise", "detailed"), "reasoning comes as the model writes it; use 'auto'"),
]


class Reasoning(Body):
    """How hard to think. Reasoning is streamed as the model writes it, never summed up."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: _Summary = None
    generate_summary: _Summary = None
    context: Annotated[None, not_here(_PROVIDERS)] = None
    mode: Annotated[None, not_here(_PROVIDERS)] = None


class ConversationRef(Body):
    """A conversation by its id."""

    id: str = Field(min_length=1)


def _no_truncation(value: Any) -> Any:
    if value == "auto":
        reason = "nothing is left out of a prompt without a word; shorten the input"
        raise refused_value("truncation 'auto'", reason)
    return value


Include = Annotated[
    Literal["message.output_text.logprobs", "reasoning.encrypted_content"],
    not_these(
        (
            "code_interpreter_call.outputs",
            "computer_call_output.output.image_url",
            "file_search_call.results",
            "message.input_image.image_url",
            "web_search_call.action.sources",
            "web_search_call.results",
        ),
        "models here read text and call functions alone",
    ),
]
_Conversation = Annotated[
    Annotated[str, Field(min_length=1), Tag("<string>")]
    | Annotated[ConversationRef, Tag("<object>")],
    by_shape("a string or object"),
]


class ResponseBody(Body):
    """A response to create."""

    refused: ClassVar[Mapping[str, str]] = {
        "access_programs": "there are none here",
        "background_options": "use service_tier for the order of work",
        "context_management": "nothing is left out of a prompt without a word",
        "image": "models here read text only",
        "moderation": "use POST /v1/moderations before the call",
        "prompt": "templates are tasks here; see POST /v1/jobs with task generate",
        "prompt_cache_options": _PROVIDERS,
        "prompt_cache_retention": _PROVIDERS,
    }

    model: str = Field(min_length=1, max_length=128)
    input: Input = ""
    instructions: str | None = None
    previous_response_id: str | None = Field(default=None, min_length=1)
    conversation: _Conversation | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    include: list[Include] | None = None
    metadata: Metadata | None = None
    tools: list[Tool] | None = Field(default=None, max_length=128)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = Field(default=None, ge=1)
    max_output_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    text: Text | None = None
    reasoning: Reasoning | None = None
    truncation: Annotated[Literal["disabled"] | None, BeforeValidator(_no_truncation)] = None
    service_tier: ServiceTier | None = None
    user: str | None = Field(default=None, max_length=512)
    safety_identifier: str | None = Field(default=None, max_length=512)
    prompt_cache_key: str | None = Field(default=None, max_length=512)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.conversation is not None and self.previous_response_id is not None:
            text = (
                "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. "
                "Give only one of them."
            )
            raise complaint("mutually_exclusive_parameters", text, at="previous_response_id")
        self._check_input()
        if self.background and self.store is False:
            text = "'background' needs 'store': nobody could fetch the response."
            raise complaint("invalid_combination", text, at="store")
        if self.stream_options is not None and not self.stream:
            text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            raise complaint("invalid_combination", text, at="stream_options")
        self._check_choice()
        return self

    @property
    def conversation_id(self) -> str | None:
        """The conversation that the response is a turn of."""
        if isinstance(self.conversation, ConversationRef):
            return self.conversation.id
        return self.conversation

    @property
    def asks_for_json(self) -> bool:
        """Whether the text is to be JSON of no particular schema."""
        format_ = self.text.format if self.text is not None else None
        return format_ is not None and format_.type == "json_object"

    def _check_input(self) -> None:
        if not self.input and self.conversation is None and self.previous_response_id is None:
            text = (
                "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must "
                "be provided."
            )
            raise complaint("missing_required_parameter", text)

    def _check_choice(self) -> None:
        chosen = self.tool_choice
        names = {tool.name for tool in self.tools or ()}
        if chosen == "required" and not names:
            text = "Tool choice 'required' must be specified with 'tools' parameter."
            raise complaint("invalid_combination", text, at="tool_choice")
        if isinstance(chosen, NamedChoice) and chosen.name not in names:
            text = f"Tool choice '{chosen.name}' not found in 'tools' parameter."
            raise complaint("invalid_combination", text, at="tool_choice")
