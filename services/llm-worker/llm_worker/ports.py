"""What llm-worker needs of the world, in its own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from penstock_contracts.conversations import ConversationState
from penstock_contracts.parts import Usage
from penstock_kit.tenancy import TenantScope

__all__ = [
    "Batch",
    "Call",
    "Conversations",
    "Finish",
    "Piece",
    "PriceTable",
    "Provider",
    "Sink",
    "Tokens",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a model.

    Attributes:
        model: the provider's own name of the model.
        messages: in OpenAI's shape.
        options: sampling parameters that are set, under OpenAI's names.
        job: sent along as `x-penstock-job`, so that a provider's log can be joined with ours.
        attempt: sent along as `x-penstock-attempt`.
        timeout_s: longest duration of the whole call.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    job: str
    attempt: int
    timeout_s: float
    traceparent: str | None = None


class Piece(NamedTuple):
    """A piece of output. `kind` is `text`, `reasoning`, `refusal` or `tool_call`.

    Of a tool call `text` holds the arguments, `place` its index, `id` and `name` come with its
    first piece. A NamedTuple, because one is made per token.
    """

    kind: str
    choice: int
    text: str
    place: int = 0
    id: str | None = None
    name: str | None = None
    logprobs: list[Any] | None = None


class Finish(NamedTuple):
    """A choice is complete."""

    choice: int
    reason: str


class Tokens(NamedTuple):
    """What the provider counted."""

    input: int | None
    output: int | None
    cached_input: int | None
    reasoning: int | None


Batch = list[Piece | Finish | Tokens]

Sink = Callable[[Batch], float]
"""Takes what has arrived, never empty; gives the loop time until which more may gather."""


class Provider(Protocol):
    """A place where models run."""

    name: str

    async def run(self, call: Call, sink: Sink, *, on_sent: Callable[[], None]) -> None:
        """Run a call; `sink` gets what has arrived, one batch per read.

        `on_sent` is called just before the request leaves: from there on it may be charged. Before
        that the call may wait for a free slot.

        Returns only when the answer is complete. Cancelling it closes the socket at once.

        Raises:
            Transient: the same call may succeed later.
            Permanent: it will not.
        """
        ...

    async def close(self) -> None:
        """Close all connections; works twice."""
        ...


class PriceTable(Protocol):
    """What calls cost."""

    def cost(self, price: str | None, usage: Usage) -> tuple[Decimal, str] | None:
        """US dollars and the source of the price; None if the price is not known. Never a guess."""
        ...


class Conversations(Protocol):
    """The last messages of conversations. Turns of one conversation come one after another."""

    async def load(self, scope: TenantScope, conversation: str) -> ConversationState | None:
        """The newest state, or None for a new conversation.

        Raises:
            Busy: the view is away or being read back; keep the record and wait.
        """
        ...

    async def append(self, scope: TenantScope, state: ConversationState) -> None:
        """Make the state durable; returns once the log has it.

        Raises:
            Retryable: the log did not take it.
        """
        ...
