"""A finished completion, and the chunks of a streamed one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from penstock_contracts.codec import dumps

from gateway.openai.chat.shapes import usage_object
from gateway.openai.completions.asked import CompletionStyle
from gateway.openai.feed import SnapshotItem
from gateway.openai.repeats import SentText
from gateway.openai.streaming import DONE
from gateway.ports import StreamEvent

__all__ = ["CompletionChunks", "completion_object"]

_ANEW = ("reset", "snapshot")


def completion_object(
    output: Mapping[str, Any],
    *,
    object_id: str,
    created: int,
    model: str | None,
    usage: Mapping[str, Any] | None,
    style: CompletionStyle,
) -> dict[str, Any]:
    """A `text_completion`."""
    return {
        "id": object_id,
        "object": "text_completion",
        "created": created,
        "model": model or "",
        "choices": [
            {
                "index": choice["index"],
                "text": style.echo + (choice.get("text") or ""),
                "logprobs": _logprobs(choice.get("logprobs"), start=len(style.echo)),
                "finish_reason": choice["finish_reason"],
            }
            for choice in output["choices"]
        ],
        "usage": usage_object(usage),
        "system_fingerprint": None,
    }


class CompletionChunks:
    """Writes the chunks of one completion; remembers what it has sent."""

    def __init__(
        self, *, object_id: str, created: int, model: str | None, style: CompletionStyle
    ) -> None:
        self._head = (
            b'data: {"id":%b,"object":"text_completion","created":%d,"model":%b,'
            b'"system_fingerprint":null,"choices":['
            % (dumps(object_id), created, dumps(model or ""))
        )
        self._tail = b'],"usage":null}\n\n' if style.with_usage else b"]}\n\n"
        self._style = style
        self._sent = SentText()
        self._lengths: dict[int, int] = {}
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
        if isinstance(item, SnapshotItem):
            return self._deltas(
                delta.model_dump(exclude_none=True) for delta in item.snapshot.deltas
            )
        if kind == "delta":
            return self._deltas(orjson.loads(item.value)["deltas"])
        return b""

    def finish(self, output: Mapping[str, Any], usage: Mapping[str, Any] | None) -> bytes:
        """What is missing of the answer, the finish reasons, usage if wanted, and the end mark.

        Raises:
            ApiError: stream_reset.
        """
        self._sent.begin_anew()
        pieces = []
        for choice in output["choices"]:
            index = choice["index"]
            whole = {"type": "text", "choice": index, "text": choice.get("text") or ""}
            pieces.append(self._deltas([{**whole, "logprobs": choice.get("logprobs")}]))
            pieces.append(self._chunk(index, "", None, finish=choice["finish_reason"]))
        self._sent.check_all_told()
        if self._style.with_usage:
            pieces.append(self._head + b'],"usage":%b}\n\n' % dumps(usage_object(usage)))
        pieces.append(DONE)
        return b"".join(pieces)

    def _deltas(self, deltas: Iterable[Mapping[str, Any]]) -> bytes:
        pieces = []
        for delta in deltas:
            if delta["type"] != "text":
                continue
            index = delta.get("choice", 0)
            if index not in self._lengths:
                self._lengths[index] = len(self._style.echo)
                if self._style.echo:
                    pieces.append(self._chunk(index, self._style.echo, None, finish=None))
            fresh = self._sent.fresh(index, delta["text"])
            told = delta.get("logprobs") if fresh is delta["text"] else None
            if not fresh and not (told and self._sent.is_first_telling):
                continue
            pieces.append(self._chunk(index, fresh, told, finish=None))
            self._lengths[index] += len(fresh)
        return b"".join(pieces)

    def _chunk(self, index: int, text: str, logprobs: Any, *, finish: str | None) -> bytes:
        told = _logprobs(logprobs, start=self._lengths.get(index, 0))
        body = b'{"text":%b,"index":%d,"logprobs":%b,"finish_reason":%b}' % (
            dumps(text),
            index,
            dumps(told),
            dumps(finish),
        )
        return self._head + body + self._tail


def _logprobs(entries: Any, *, start: int) -> dict[str, Any] | None:
    """Token probabilities of a chat in the shape that completions have them."""
    if not entries:
        return None
    offsets = []
    for entry in entries:
        offsets.append(start)
        start += len(entry["token"])
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [
            {top["token"]: top["logprob"] for top in entry.get("top_logprobs") or ()}
            for entry in entries
        ],
        "text_offset": offsets,
    }
