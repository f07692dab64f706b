"""From pieces to a whole answer, and to what it used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock_contracts.parts import Choice, OutputSpan, ToolCall, Usage

from llm_worker.ports import Batch, Finish, Piece, Tokens

__all__ = ["Answer", "estimated_tokens"]

_CHARS_PER_TOKEN = 4
"""The usual rule of thumb for English; only used where the provider sent no usage."""
_USUAL = ("reasoning", "text", "refusal", "tool_call")
"""The order in which models speak; of a choice that kept it, nothing more is said."""


@dataclass(slots=True)
class _Tool:
    id: str
    """As it was told with the first piece: clients know the call by it, so a later one is void."""
    name: str | None = None
    arguments: list[str] = field(default_factory=list)


class _Begin(NamedTuple):
    """Where a stretch of output begins, in the pieces of its kind and in the log probabilities."""

    kind: str
    piece: int
    logprob: int


@dataclass(slots=True)
class _Choice:
    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    tools: dict[int, _Tool] = field(default_factory=dict)
    begins: list[_Begin] = field(default_factory=list)
    finish_reason: str | None = None

    def pieces(self, kind: str) -> list[str]:
        """The texts of a kind; of tool calls, which have their own, none."""
        if kind == "text":
            return self.texts
        return {"reasoning": self.reasoning, "refusal": self.refusal}.get(kind, [])

    def speaks(self, piece: Piece) -> None:
        """Note where a stretch of another kind begins, or another tool call."""
        if piece.kind == "tool_call":
            is_new = piece.place not in self.tools
        else:
            is_new = not self.begins or self.begins[-1].kind != piece.kind
        if is_new:
            begin = _Begin(piece.kind, len(self.pieces(piece.kind)), len(self.logprobs))
            self.begins.append(begin)


class Answer:
    """Collects one call's output; says at any moment what was used so far."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._tokens: Tokens | None = None
        self._chars = 0
        self._pieces = 0

    @property
    def has_output(self) -> bool:
        """Whether any piece has arrived."""
        return self._pieces > 0

    def add(self, batch: Batch) -> None:
        """Take a batch in."""
        for part in batch:
            if isinstance(part, Piece):
                self._add_piece(part)
            elif isinstance(part, Finish):
                self._choice(part.choice).finish_reason = part.reason
            else:
                self._tokens = part

    def choices(self) -> list[Choice]:
        """The complete answer, by choice index."""
        return [_finished(index, self._choices[index]) for index in sorted(self._choices)]

    def usage(self, prompt: Iterable[Mapping[str, Any]]) -> Usage:
        """What the provider counted; what it did not count is estimated, and marked so."""
        tokens = self._tokens or Tokens(None, None, None, None)
        is_estimated = tokens.input is None or tokens.output is None
        return Usage(
            input_tokens=tokens.input if tokens.input is not None else estimated_tokens(prompt),
            output_tokens=tokens.output if tokens.output is not None else self._estimated_output(),
            cached_input_tokens=tokens.cached_input,
            reasoning_tokens=tokens.reasoning,
            estimated=is_estimated,
        )

    def _estimated_output(self) -> int:
        # Most providers send a token per chunk; the characters catch those that join tokens.
        return max(self._pieces, -(-self._chars // _CHARS_PER_TOKEN))

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        return choice

    def _add_piece(self, piece: Piece) -> None:
        self._pieces += 1
        self._chars += len(piece.text)
        choice = self._choice(piece.choice)
        choice.speaks(piece)
        if piece.kind == "text":
            choice.texts.append(piece.text)
            if piece.logprobs:
                choice.logprobs.extend(piece.logprobs)
        elif piece.kind == "reasoning":
            choice.reasoning.append(piece.text)
        elif piece.kind == "refusal":
            choice.refusal.append(piece.text)
        else:
            tool = choice.tools.setdefault(piece.place, _Tool(piece.id or f"call_{piece.place}"))
            tool.name = tool.name or piece.name
            tool.arguments.append(piece.text)


def estimated_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """A rough count of a prompt's tokens."""
    return sum(-(-_length(message.get("content")) // _CHARS_PER_TOKEN) for message in messages)


def _length(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    return sum(len(part.get("text", "")) for part in content or ())


def _finished(index: int, choice: _Choice) -> Choice:
    tools = [
        ToolCall(id=tool.id, name=tool.name or "", arguments="".join(tool.arguments))
        for _, tool in sorted(choice.tools.items())
    ]
    return Choice(
        index=index,
        text="".join(choice.texts),
        reasoning="".join(choice.reasoning) or None,
        refusal="".join(choice.refusal) or None,
        logprobs=choice.logprobs or None,
        tool_calls=tools,
        finish_reason=choice.finish_reason or "stop",
        order=_order(choice),
    )


def _order(choice: _Choice) -> list[OutputSpan] | None:
    """How the output came; None: in the usual order, each kind in one stretch."""
    kinds = [begin.kind for begin in choice.begins if begin.kind != "tool_call"]
    is_once = len(set(kinds)) == len(kinds)
    ranks = [_USUAL.index(begin.kind) for begin in choice.begins]
    if is_once and ranks == sorted(ranks):
        return None
    ends = {kind: len(choice.pieces(kind)) for kind in _USUAL}
    last_logprob = len(choice.logprobs)
    spans: list[OutputSpan] = []
    for kind, piece, logprob in reversed(choice.begins):
        length = sum(map(len, choice.pieces(kind)[piece : ends[kind]]))
        ends[kind] = piece
        entries = last_logprob - logprob if kind == "text" else 0
        last_logprob = logprob
        spans.append(
            OutputSpan.model_validate({"type": kind, "length": length, "logprobs": entries})
        )
    return spans[::-1]
