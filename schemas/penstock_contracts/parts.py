"""Provider-neutral pieces of output: what streams, what a result holds, what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic_core import CoreSchema

from penstock_contracts.models import Fact

__all__ = [
    "BlobRef",
    "ChatOutput",
    "Choice",
    "Delta",
    "EmbedOutput",
    "GenerateOutput",
    "IngestOutput",
    "JobError",
    "Output",
    "OutputSpan",
    "ReasoningDelta",
    "RefusalDelta",
    "SearchHit",
    "SearchOutput",
    "TextDelta",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "has_content",
    "merge_counted",
    "merge_deltas",
]


class _DeltaBase(Fact):
    choice: int = Field(default=0, ge=0, description="Index of the choice that this piece extends.")


class TextDelta(_DeltaBase):
    """A piece of the answer's text."""

    type: Literal["text"] = "text"
    text: str
    logprobs: list[JsonValue] | None = Field(
        default=None, description="Entries as OpenAI shapes them, where the provider has them."
    )


class ReasoningDelta(_DeltaBase):
    """A piece of the model's visible reasoning."""

    type: Literal["reasoning"] = "reasoning"
    text: str


class RefusalDelta(_DeltaBase):
    """A piece of a refusal that the provider keeps apart from the answer."""

    type: Literal["refusal"] = "refusal"
    text: str


class ToolCallDelta(_DeltaBase):
    """A piece of a tool call; `id` and `name` come with its first piece, arguments accumulate."""

    type: Literal["tool_call"] = "tool_call"
    index: int = Field(ge=0, description="Index of the tool call within its choice.")
    id: str | None = None
    name: str | None = None
    arguments: str = ""


Delta = Annotated[
    TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta, Field(discriminator="type")
]


def merge_deltas(deltas: Iterable[Delta]) -> list[Delta]:
    """Join neighbouring pieces of the same choice and kind; assembling gives the same output."""
    return merge_counted((delta, 1) for delta in deltas)[0]


def merge_counted(deltas: Iterable[tuple[Delta, int]]) -> tuple[list[Delta], list[int]]:
    """As `merge_deltas`; each comes with the pieces it stands for, and so does each result."""
    merged: list[Delta] = []
    pieces: list[int] = []
    for delta, count in deltas:
        joined = _joined(merged[-1], delta) if merged else None
        if joined is None:
            merged.append(delta)
            pieces.append(count)
        else:
            merged[-1] = joined
            pieces[-1] += count
    return merged, pieces


def has_content(delta: Delta) -> bool:
    """Whether a piece adds output; some only open a tool call, or say nothing."""
    if isinstance(delta, ToolCallDelta):
        return bool(delta.arguments)
    return bool(delta.text)


def _joined(left: Delta, right: Delta) -> Delta | None:
    if left.choice != right.choice or left.type != right.type:
        return None
    if isinstance(left, ToolCallDelta) and isinstance(right, ToolCallDelta):
        if left.index != right.index or (right.id is not None and right.id != left.id):
            return None
        return left.model_copy(
            update={
                "name": left.name or right.name,
                "arguments": left.arguments + right.arguments,
            }
        )
    if isinstance(left, ToolCallDelta) or isinstance(right, ToolCallDelta):
        return None
    update: dict[str, Any] = {"text": left.text + right.text}
    if isinstance(left, TextDelta) and isinstance(right, TextDelta) and right.logprobs is not None:
        update["logprobs"] = [*(left.logprobs or []), *right.logprobs]
    return left.model_copy(update=update)


class ToolCall(Fact):
    """A complete tool call; `arguments` is the JSON text as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str


class OutputSpan(Fact):
    """A stretch of a choice's output; tool calls are each told once, where they begin."""

    type: Literal["text", "reasoning", "refusal", "tool_call"]
    length: int = Field(default=0, ge=0, description="Unicode characters; 0 of a tool call.")
    logprobs: int = Field(default=0, ge=0, description="Entries of `logprobs` that belong to it.")


class Choice(Fact):
    """One complete answer of a chat."""

    index: int = Field(ge=0)
    text: str = ""
    reasoning: str | None = None
    refusal: str | None = None
    logprobs: list[JsonValue] | None = None
    tool_calls: list[ToolCall] = Field(default_factory=list)
    finish_reason: str = Field(
        description="stop, length, tool_calls, content_filter, or as the provider says."
    )
    order: list[OutputSpan] | None = Field(
        default=None,
        description="How the output came, where that was not reasoning, text, refusal, tool calls.",
    )


class ChatOutput(Fact):
    """Output of a `chat` task."""

    kind: Literal["chat"] = "chat"
    choices: list[Choice]


class GenerateOutput(Fact):
    """Output of a `generate` task: text, and the parsed value where the format is `json`."""

    kind: Literal["generate"] = "generate"
    format: Literal["text", "json", "markdown", "html"]
    text: str
    value: JsonValue = None
    finish_reason: str = "stop"


class EmbedOutput(Fact):
    """Output of an `embed` task: one vector per text, in the order of the texts, unit length."""

    kind: Literal["embed"] = "embed"
    model: str
    dimensions: int = Field(gt=0)
    vectors: list[list[float]]


class IngestOutput(Fact):
    """Output of an `ingest` task."""

    kind: Literal["ingest"] = "ingest"
    collection: str
    documents: int
    chunks: int


class SearchHit(Fact):
    """One passage found; `score` is the cosine similarity, higher is nearer."""

    id: str
    score: float
    document: str
    chunk: int
    text: str
    metadata: dict[str, Any] = Field(default_factory=dict)


class SearchOutput(Fact):
    """Output of a `search` task, best hit first."""

    kind: Literal["search"] = "search"
    collection: str
    hits: list[SearchHit]


Output = Annotated[
    ChatOutput | GenerateOutput | EmbedOutput | IngestOutput | SearchOutput,
    Field(discriminator="kind"),
]


def _in_digits(amount: Decimal) -> str:
    return format(amount, "f")


Dollars = Annotated[Decimal, PlainSerializer(_in_digits, return_type=str, when_used="json")]
"""Written in digits: a few tokens of a cheap model cost `0.00000015`, which `str` makes 1.5E-7."""


class Usage(Fact):
    """Tokens and money of all attempts so far; None means unknown, never zero by guess."""

    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)
    cached_input_tokens: int | None = Field(default=None, ge=0)
    reasoning_tokens: int | None = Field(default=None, ge=0)
    cost_usd: Dollars | None = Field(
        default=None, description="US dollars as a decimal string; null = unknown."
    )
    price_source: str | None = Field(
        default=None, description="Price table and version behind `cost_usd`."
    )
    estimated: bool = Field(
        default=False, description="True where the provider sent no usage (cut streams)."
    )

    @model_serializer(mode="wrap")
    def _with_cost(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """An unknown cost is said (`null`), even where members without a value are left out."""
        return {"cost_usd": None, **serialize(self)}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The members; a serializer that returns a dict would leave only "an object"."""
        members: Any = {name: part for name, part in core_schema.items() if name != "serialization"}
        return handler(members)


class JobError(Fact):
    """Why a job failed or is retried: the same words as the HTTP error registry."""

    type: str = Field(
        description="Family, as OpenAI names it: invalid_request_error, rate_limit_error, ..."
    )
    code: str = Field(description="Stable snake-case code.")
    message: str = Field(
        description="What happened, why, and what to do. Never contains prompts or secrets."
    )
    param: str | None = None
    retryable: bool = False
    provider_status: int | None = Field(
        default=None, description="HTTP status of the provider, if there was one."
    )


class BlobRef(Fact):
    """A claim check: where an input or output over 256 KiB lies, and how to know it is whole."""

    path: str = Field(description="Path inside the deployment's blob store.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
