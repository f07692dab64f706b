"""Job events to `chat.completion.chunk`s: bytes, written by hand, because this runs per token.

A second attempt of a job begins its answer anew. As long as it says what was sent already, nothing
goes out; where it says something else, the stream cannot be mended and ends with `stream_reset`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from penstock_contracts.codec import dumps
from penstock_contracts.parts import Delta

from gateway.openai.chat.asked import ChatStyle
from gateway.openai.chat.shapes import usage_object
from gateway.openai.feed import SnapshotItem
from gateway.openai.repeats import SentText, stream_reset
from gateway.openai.streaming import DONE
from gateway.ports import StreamEvent

__all__ = ["ChatChunks"]

_Key = tuple[str, int, int]
"""Kind of delta, choice, and index of the tool call."""
_ANEW = ("reset", "snapshot")
"""From these on the output of the attempt is told from its begin."""
_FIELDS = {"text": b"content", "reasoning": b"reasoning_content", "refusal": b"refusal"}


class ChatChunks:
    """Writes the chunks of one completion; remembers what it has sent."""

    def __init__(
        self, *, object_id: str, created: int, model: str | None, style: ChatStyle
    ) -> None:
        self._head = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,'
            b'"service_tier":"%b","system_fingerprint":null,"choices":['
            % (dumps(object_id), created, dumps(model or ""), style.tier.encode())
        )
        self._tail = b'],"usage":null}\n\n' if style.with_usage else b"]}\n\n"
        self._with_usage = style.with_usage
        self._sent = SentText()
        self._greeted: set[int] = set()
        self._names: dict[_Key, str | None] = {}
        self._attempt = 0

    def of(self, item: StreamEvent | SnapshotItem) -> bytes:
        """The chunks of one event, perhaps none. The end of the job is for `finish`.

        Raises:
            ApiError: stream_reset.
        """
        kind, attempt = item.type, item.position.attempt
        if attempt != self._attempt or kind in _ANEW:
            self._attempt = attempt
            self._sent.begin_anew()
        if kind == "delta":
            return self._deltas(orjson.loads(item.value)["deltas"])
        if isinstance(item, SnapshotItem):
            return self._deltas(map(_plain, item.snapshot.deltas))
        return b""

    def finish(self, output: Mapping[str, Any], usage: Mapping[str, Any] | None) -> bytes:
        """What is missing of the answer, the finish reasons, usage if wanted, and the end mark.

        Raises:
            ApiError: stream_reset.
        """
        self._sent.begin_anew()
        pieces = []
        for choice in output["choices"]:
            pieces.append(self._deltas(_deltas_of(choice)))
            index = choice["index"]
            pieces.append(self._greeting(index))
            body = b'{"index":%d,"delta":{},"logprobs":null,"finish_reason":%b}' % (
                index,
                dumps(choice["finish_reason"]),
            )
            pieces.append(self._head + body + self._tail)
        self._sent.check_all_told()
        if self._with_usage:
            pieces.append(self._head + b'],"usage":%b}\n\n' % dumps(usage_object(usage)))
        pieces.append(DONE)
        return b"".join(pieces)

    def _deltas(self, deltas: Iterable[Mapping[str, Any]]) -> bytes:
        pieces = []
        for delta in deltas:
            choice = delta.get("choice", 0)
            if choice not in self._greeted:
                pieces.append(self._greeting(choice))
            if delta["type"] == "tool_call":
                body = self._tool_call(choice, delta)
            else:
                body = self._text(choice, delta)
            if body is not None:
                pieces += (self._head, body, self._tail)
        return b"".join(pieces)

    def _greeting(self, choice: int) -> bytes:
        if choice in self._greeted:
            return b""
        self._greeted.add(choice)
        body = (
            b'{"index":%d,"delta":{"role":"assistant","content":"","refusal":null},'
            b'"logprobs":null,"finish_reason":null}' % choice
        )
        return self._head + body + self._tail

    def _text(self, choice: int, delta: Mapping[str, Any]) -> bytes | None:
        kind, text = delta["type"], delta["text"]
        fresh = self._sent.fresh((kind, choice, 0), text)
        # Token probabilities belong to whole pieces: of a piece that was sent in part, none.
        logprobs = delta.get("logprobs") if fresh is text else None
        if not fresh and not (logprobs and self._sent.is_first_telling):
            return None
        told = b"null" if logprobs is None else b'{"content":%b,"refusal":null}' % dumps(logprobs)
        return b'{"index":%d,"delta":{"%b":%b},"logprobs":%b,"finish_reason":null}' % (
            choice,
            _FIELDS[kind],
            dumps(fresh),
            told,
        )

    def _tool_call(self, choice: int, delta: Mapping[str, Any]) -> bytes | None:
        index = delta["index"]
        key = ("tool_call", choice, index)
        name = delta.get("name")
        function: dict[str, Any] = {}
        call: dict[str, Any] = {"index": index}
        if not self._sent.knows(key):
            # A later attempt's own id is dropped: the caller knows the call by the first.
            call |= {"id": delta.get("id") or f"call_{index}", "type": "function"}
            function["name"] = name or ""
            self._names[key] = name
        elif name and not self._names[key]:
            function["name"] = self._names[key] = name  # some providers tell it late
        elif name is not None and name != self._names[key]:
            raise stream_reset()
        fresh = self._sent.fresh(key, delta.get("arguments") or "")
        if not fresh and not function:
            return None
        call["function"] = {**function, "arguments": fresh}
        return b'{"index":%d,"delta":{"tool_calls":[%b]},"logprobs":null,"finish_reason":null}' % (
            choice,
            dumps(call),
        )


def _plain(delta: Delta) -> dict[str, Any]:
    return delta.model_dump(exclude_none=True)


def _deltas_of(choice: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    index = choice["index"]
    for kind, member in (("reasoning", "reasoning"), ("refusal", "refusal"), ("text", "text")):
        text = choice.get(member)
        if text:
            delta = {"type": kind, "choice": index, "text": text}
            yield delta | ({"logprobs": choice.get("logprobs")} if kind == "text" else {})
    for place, call in enumerate(choice.get("tool_calls") or ()):
        yield {"type": "tool_call", "choice": index, "index": place, **call}
