"""What the server says: tokens of an answer, as stream chunks or as one body."""

from __future__ import annotations

import hashlib
import struct
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import orjson

from tests.support.fake_provider.script import Script

__all__ = ["Answer", "embedding", "error_body", "make_answer", "prompt_tokens"]

_CREATED = 1_700_000_000
_WORDS = ("alfa", "brav", "char", "delt", "echo", "foxt", "golf", "hote", "indi", "juli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer, cut into tokens.

    `pieces` are the deltas of one choice in order; every choice of the request gets the same ones.
    """

    id: str
    model: str
    pieces: tuple[dict[str, Any], ...]
    choices: int
    finish: str
    usage: dict[str, Any] | None
    wants_usage: bool

    def chunks(self) -> Iterator[bytes]:
        """One server-sent event per token and choice, without role, finish and usage chunks."""
        # Hand-made JSON: at 30,000 chunks a second an encoder would be the bottleneck of benches.
        head = self._head()
        for piece in self.pieces:
            delta = orjson.dumps(piece)
            for choice in range(self.choices):
                yield b"".join(
                    (
                        head,
                        b'"choices":[{"index":%d,"delta":' % choice,
                        delta,
                        b',"finish_reason":null}]}\n\n',
                    )
                )

    def opening(self) -> bytes:
        """The chunk with the role that comes before the first token."""
        return (
            self._head() + b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},'
            b'"finish_reason":null}]}\n\n'
        )

    def closing(self) -> bytes:
        """Finish reasons, usage if asked for, and the end mark."""
        events = [
            self._head()
            + b'"choices":[{"index":%d,"delta":{},"finish_reason":"%s"}]}\n\n'
            % (choice, self.finish.encode())
            for choice in range(self.choices)
        ]
        if self.usage is not None and self.wants_usage:
            events.append(
                self._head() + b'"choices":[],"usage":' + orjson.dumps(self.usage) + b"}\n\n"
            )
        events.append(b"data: [DONE]\n\n")
        return b"".join(events)

    def body(self) -> bytes:
        """The answer as one chat.completion."""
        message: dict[str, Any] = {"role": "assistant", "content": None}
        for piece in self.pieces:
            for name, value in piece.items():
                if name == "tool_calls":
                    _add_tool_call(message, value[0])
                else:
                    message[name] = (message.get(name) or "") + value
        choices = [
            {"index": index, "message": message, "finish_reason": self.finish}
            for index in range(self.choices)
        ]
        body: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion",
            "created": _CREATED,
            "model": self.model,
            "choices": choices,
        }
        if self.usage is not None:
            body["usage"] = self.usage
        return orjson.dumps(body)

    def _head(self) -> bytes:
        return b'data: {"id":"%s","object":"chat.completion.chunk","created":%d,"model":%s,' % (
            self.id.encode(),
            _CREATED,
            orjson.dumps(self.model),
        )


def make_answer(script: Script, request: dict[str, Any], *, number: int, earlier: int) -> Answer:
    """The answer to a request; `earlier` is how many calls of the same job came before."""
    pieces = () if script.mute else _pieces(script, request, earlier)
    prompt = prompt_tokens(request)
    choices = 0 if script.mute else int(request.get("n") or 1)
    reasoning = min(script.reasoning, len(pieces))
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": len(pieces) * choices,
        "total_tokens": prompt + len(pieces) * choices,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning * choices},
    }
    return Answer(
        id=f"chatcmpl-fake{number}",
        model=str(request.get("model", "fake")),
        pieces=pieces,
        choices=choices,
        finish=script.finish or ("tool_calls" if script.tools else "stop"),
        usage=usage if script.usage else None,
        wants_usage=bool((request.get("stream_options") or {}).get("include_usage")),
    )


def _pieces(script: Script, request: dict[str, Any], earlier: int) -> tuple[dict[str, Any], ...]:
    if script.tools:
        return tuple(_tool_pieces(script.tools))
    limit = request.get("max_completion_tokens") or request.get("max_tokens") or 10**9
    name = "refusal" if script.refusal else "content"
    thoughts = [{"reasoning_content": f"think{i} "} for i in range(script.reasoning)]
    words = _words(script, request, earlier)[: int(limit)]
    return (*thoughts, *({name: word} for word in words))


def _words(script: Script, request: dict[str, Any], earlier: int) -> list[str]:
    if script.json:
        return _split(_json_text(script.json, earlier), script.chars)
    if script.echo:
        return _split(_last_user(request), script.chars)
    size = max(script.chars, 1)
    return [(_WORDS[i % 10] * (size // 4 + 1))[: size - 1] + " " for i in range(script.tokens)]


def _json_text(mode: str, earlier: int) -> str:
    if mode == "second":
        mode = "valid" if earlier else "invalid"
    good = '{"name": "Ada", "age": 36}'
    return {
        "valid": good,
        "fenced": f"Here it is:\n```json\n{good}\n```\n",
        "invalid": '{"name": "Ada", "age": ',
        "mismatch": '{"name": 1}',
    }[mode]


def _tool_pieces(count: int) -> Iterator[dict[str, Any]]:
    for index in range(count):
        call = {"index": index, "id": f"call_{index}", "type": "function"}
        yield {"tool_calls": [{**call, "function": {"name": "lookup", "arguments": ""}}]}
        for part in ('{"que', 'ry":', ' "x"}'):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


def _add_tool_call(message: dict[str, Any], piece: dict[str, Any]) -> None:
    calls = message.setdefault("tool_calls", [])
    if piece["index"] == len(calls):
        calls.append({"id": piece["id"], "type": "function", "function": dict(piece["function"])})
    else:
        calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]


def _split(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), max(size, 1))]


def _last_user(request: dict[str, Any]) -> str:
    for message in reversed(request.get("messages") or []):
        if message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def prompt_tokens(request: dict[str, Any]) -> int:
    """A token is four characters, rounded up, per message; deterministic, not true to any model."""
    messages = request.get("messages") or []
    return sum((len(text_of(message.get("content"))) + 3) // 4 for message in messages)


def embedding(text: str, *, dimensions: int, as_base64: bool) -> list[float] | str:
    """A unit vector that depends on the text alone."""
    raw: list[float] = []
    block = 0
    while len(raw) < dimensions:
        digest = hashlib.sha256(f"{block}:{text}".encode()).digest()
        raw += [value / 2**31 - 1.0 for value in struct.unpack("<8I", digest)]
        block += 1
    raw = raw[:dimensions]
    length = sqrt(sum(value * value for value in raw)) or 1.0
    unit = [value / length for value in raw]
    return b64encode(struct.pack(f"<{dimensions}f", *unit)).decode() if as_base64 else unit


def error_body(status: int, message: str) -> bytes:
    """An error in OpenAI's shape."""
    kind = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
    error = {
        "message": message,
        "type": kind.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": None,
        "code": code.get(status),
    }
    return orjson.dumps({"error": error})
