"""A result's choice as the pieces that it was put together from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["deltas_of", "first_choice"]

_TEXTS: Final = ("reasoning", "text", "refusal")


def first_choice(output: Mapping[str, Any]) -> Mapping[str, Any]:
    """The choice that a response is made of; empty where a provider gave none."""
    choices = output["choices"]
    choice: Mapping[str, Any] = choices[0] if choices else {}
    return choice


def deltas_of(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a choice says, in the order in which it came; each tool call in one piece."""
    texts = {kind: choice.get(kind) or "" for kind in _TEXTS}
    logprobs = choice.get("logprobs") or ()
    said, told = dict.fromkeys(_TEXTS, 0), 0
    calls = deque(
        {"type": "tool_call", "index": index, **call}
        for index, call in enumerate(choice.get("tool_calls") or ())
    )
    for span in choice.get("order") or ():
        kind = span["type"]
        if kind == "tool_call":
            yield calls.popleft()
            continue
        begin, said[kind] = said[kind], said[kind] + span["length"]
        until = told + span.get("logprobs", 0)
        yield _text(kind, texts[kind][begin : said[kind]], logprobs[told:until])
        told = until
    for kind, text in texts.items():
        rest = logprobs[told:] if kind == "text" else ()
        if said[kind] < len(text) or rest:
            yield _text(kind, text[said[kind] :], rest)
    yield from calls


def _text(kind: str, text: str, logprobs: Any) -> dict[str, Any]:
    delta = {"type": kind, "text": text}
    return {**delta, "logprobs": list(logprobs)} if logprobs else delta
