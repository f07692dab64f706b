"""From pieces to a whole answer, and to what it used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock_contracts.parts import Choice, ToolCall, Usage

from llm_worker.ports import Batch, Finish, Piece, Tokens

__all__ = ["Answer", "estimated_tokens"]

_CHARS_PER_TOKEN = 4
"""The usual rule of thumb for English; only used where the provider sent no usage."""


@dataclass(slots=True)
class _Tool:
    id: str | None = None
    name: str | None = None
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Choice:
    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    tools: dict[int, _Tool] = field(default_factory=dict)
    finish_reason: str | None = None


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
        if piece.kind == "text":
            choice.texts.append(piece.text)
            if piece.logprobs:
                choice.logprobs.extend(piece.logprobs)
        elif piece.kind == "reasoning":
            choice.reasoning.append(piece.text)
        elif piece.kind == "refusal":
            choice.refusal.append(piece.text)
        else:
            tool = choice.tools.setdefault(piece.place, _Tool())
            tool.id = tool.id or piece.id
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
        ToolCall(
            id=tool.id or f"call_{place}", name=tool.name or "", arguments="".join(tool.arguments)
        )
        for place, tool in sorted(choice.tools.items())
    ]
    return Choice(
        index=index,
        text="".join(choice.texts),
        reasoning="".join(choice.reasoning) or None,
        refusal="".join(choice.refusal) or None,
        logprobs=choice.logprobs or None,
        tool_calls=tools,
        finish_reason=choice.finish_reason or "stop",
    )
