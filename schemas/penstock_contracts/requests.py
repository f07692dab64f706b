"""What a job asks for: the strict body of `ai.<task>.requests.v1`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from penstock_contracts.models import Identifier, Name, Order, Timestamp
from penstock_contracts.parts import BlobRef
from penstock_contracts.surface import Surface

__all__ = [
    "INPUT_MODELS",
    "Charge",
    "ChatInput",
    "ChatMessage",
    "ChunkOptions",
    "ContentPart",
    "ConversationInput",
    "Document",
    "EmbedInput",
    "FunctionCall",
    "GenerateInput",
    "IngestInput",
    "JobRequest",
    "MessageToolCall",
    "Metadata",
    "Params",
    "Priority",
    "SearchInput",
    "TaskKind",
]

NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]


class TaskKind(StrEnum):
    """What a task does; task types of the configuration are named uses of one of these."""

    CHAT = "chat"
    GENERATE = "generate"
    EMBED = "embed"
    INGEST = "ingest"
    SEARCH = "search"
    CONVERSATION = "conversation"


class Priority(StrEnum):
    """Which of a task's three topics carries the job."""

    HIGH = "high"
    DEFAULT = "default"
    LOW = "low"


class Charge(StrEnum):
    """What a crash in the middle of a paid call means."""

    AT_LEAST_ONCE = "at_least_once"
    """Call again: the job ends, and may have been charged twice."""
    AT_MOST_ONCE = "at_most_once"
    """Never call again: the job ends as `unknown_outcome`."""


class ContentPart(Order):
    """A piece of message content; text is what every provider takes."""

    type: Literal["text"] = "text"
    text: str


class FunctionCall(Order):
    """Name and arguments of a tool call in a message."""

    name: NonEmpty
    arguments: str


class MessageToolCall(Order):
    """A tool call that the assistant made earlier in the conversation."""

    id: NonEmpty
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Order):
    """One message in OpenAI's shape."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    name: str | None = Field(default=None, max_length=64)
    tool_call_id: str | None = None
    tool_calls: list[MessageToolCall] | None = None

    @model_validator(mode="after")
    def _has_something_to_say(self) -> Self:
        if self.content is None and not self.tool_calls:
            raise ValueError("a message needs content, or tool_calls of an assistant")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool message needs the tool_call_id that it answers")
        return self


class ChatInput(Order):
    """Input of a `chat` task."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=2048)


class GenerateInput(Order):
    """Input of a `generate` task: a named template with its variables, or a prompt as it is."""

    template: Name | None = Field(
        default=None, description="Name of a template file of the deployment."
    )
    variables: dict[str, str] = Field(default_factory=dict, max_length=64)
    prompt: NonEmpty | None = None
    format: Literal["text", "json", "markdown", "html"] = "text"
    json_schema: dict[str, JsonValue] | None = Field(
        default=None, description="JSON Schema that the answer must satisfy; only with format json."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.template is None) == (self.prompt is None):
            raise ValueError("give exactly one of template and prompt")
        if self.json_schema is not None and self.format != "json":
            raise ValueError("json_schema needs format json")
        return self


TokenIds = Annotated[
    list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1, max_length=8192)
]


class EmbedInput(Order):
    """Input of an `embed` task: texts, or token lists of the embedding model's own vocabulary."""

    texts: list[NonEmpty] | None = Field(default=None, min_length=1, max_length=2048)
    tokens: list[TokenIds] | None = Field(
        default=None,
        min_length=1,
        max_length=2048,
        description="Ids without those that the model adds itself, such as [CLS].",
    )
    dimensions: int | None = Field(
        strict=True, default=None, gt=0, description="Refused where the model cannot shorten."
    )

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.texts is None) == (self.tokens is None):
            raise ValueError("give exactly one of texts and tokens")
        return self


class Document(Order):
    """A text to chunk, embed and store; the same id again replaces the document."""

    id: Identifier
    text: NonEmpty
    metadata: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=64)


class ChunkOptions(Order):
    """How documents are cut, in tokens of the embedding model."""

    size: int = Field(strict=True, default=200, ge=16, le=8192)
    overlap: int = Field(strict=True, default=20, ge=0)

    @model_validator(mode="after")
    def _makes_progress(self) -> Self:
        if self.overlap * 2 > self.size:
            raise ValueError("overlap must be at most half of size")
        return self


class IngestInput(Order):
    """Input of an `ingest` task."""

    collection: Name
    documents: list[Document] = Field(min_length=1, max_length=1024)
    chunk: ChunkOptions = ChunkOptions()


class ConversationInput(Order):
    """Input of a `conversation` task: a change of what was said. Empty: only look.

    It runs between the turns of the conversation that the job names.
    """

    add: list[ChatMessage] = Field(default_factory=list, max_length=20)
    remove: str | None = Field(
        default=None, max_length=64, description="Id of an item that is to go."
    )
    metadata: Metadata | None = Field(default=None, description="Takes the place of all before.")
    delete: bool = Field(default=False, strict=True, description="All of it is to go, for good.")


FilterValue = (
    str
    | int
    | float
    | bool
    | list[str]
    | list[int]
    | dict[Literal["gt", "gte", "lt", "lte"], float]
)


class SearchInput(Order):
    """Input of a `search` task; filters are on document metadata and are all required to hold."""

    collection: Name
    query: NonEmpty
    limit: int = Field(strict=True, default=10, ge=1, le=100)
    score_threshold: float | None = Field(strict=True, default=None, ge=-1, le=1)
    filters: dict[str, FilterValue] = Field(default_factory=dict, max_length=32)


INPUT_MODELS: dict[TaskKind, type[Order]] = {
    TaskKind.CHAT: ChatInput,
    TaskKind.GENERATE: GenerateInput,
    TaskKind.EMBED: EmbedInput,
    TaskKind.INGEST: IngestInput,
    TaskKind.SEARCH: SearchInput,
    TaskKind.CONVERSATION: ConversationInput,
}


class Params(Order):
    """Sampling parameters, OpenAI's names and ranges; what is set is passed on."""

    temperature: float | None = Field(strict=True, default=None, ge=0, le=2)
    top_p: float | None = Field(strict=True, default=None, ge=0, le=1)
    max_tokens: int | None = Field(strict=True, default=None, ge=1, le=1_000_000)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, strict=True)
    n: int | None = Field(strict=True, default=None, ge=1, le=128)
    presence_penalty: float | None = Field(strict=True, default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(strict=True, default=None, ge=-2, le=2)
    logprobs: bool | None = Field(default=None, strict=True)
    top_logprobs: int | None = Field(strict=True, default=None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = Field(default=None, strict=True)
    response_format: dict[str, Any] | None = None
    logit_bias: dict[str, float] | None = Field(default=None, max_length=1024)
    reasoning_effort: str | None = Field(default=None, min_length=1, max_length=32)
    verbosity: str | None = Field(default=None, min_length=1, max_length=32)
    user: str | None = Field(default=None, max_length=512)
    safety_identifier: str | None = Field(default=None, max_length=512)
    prompt_cache_key: str | None = Field(default=None, max_length=512)


class JobRequest(Order):
    """One job. Tenant, job id and creation time travel in the envelope, never here."""

    task: Name
    input: dict[str, Any] | None = Field(
        default=None,
        description="By the task's kind: Chat-, Generate-, Embed-, Ingest- or SearchInput.",
    )
    input_ref: BlobRef | None = Field(
        default=None, description="Claim check for an input over 256 KiB."
    )
    model: str | None = Field(default=None, min_length=1, max_length=128)
    params: Params = Params()
    priority: Priority = Priority.DEFAULT
    conversation: Identifier | None = None
    deadline: Timestamp | None = Field(
        default=None, description="Not started by then: expired, free of charge."
    )
    ends_by: Timestamp | None = Field(
        default=None,
        description="Not over by then: cancelled by `cancel_after`, what was used is booked; not"
        " even started: expired, free of charge.",
    )
    charge: Charge = Charge.AT_LEAST_ONCE
    metadata: Metadata = Field(default_factory=dict)
    user: Identifier | None = Field(
        default=None, description="Who the job belongs to inside its tenant."
    )
    demoted: bool | None = Field(
        default=None,
        description="True where the gateway moved the job to the low lane, because its tenant"
        " crowds others out; absent otherwise.",
    )
    streamed: bool | None = Field(
        default=None,
        strict=True,
        description="False: nobody follows its text, so it has no delta events; the end has all.",
    )
    surface: Surface | None = Field(
        default=None,
        description="Set where the job came through another API, for example OpenAI's.",
    )

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.input is None) == (self.input_ref is None):
            raise ValueError("give exactly one of input and input_ref")
        return self

    @property
    def start_by(self) -> datetime | None:
        """The instant after which the first call must not leave; None: whenever its turn comes."""
        limits = [at for at in (self.deadline, self.ends_by) if at is not None]
        return min(limits, default=None)
