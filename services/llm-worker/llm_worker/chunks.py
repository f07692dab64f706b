"""Server-sent chat chunks to pieces of output; lean, because this runs once per token."""

from __future__ import annotations

from typing import Any

import orjson

from llm_worker.calls import CallPlaces
from llm_worker.errors import Permanent, Transient
from llm_worker.ports import Batch, Finish, Piece, Tokens
from llm_worker.stream_errors import fault_in_stream
from llm_worker.whole_answer import as_chunk

__all__ = ["ChunkReader"]

_DATA = b"data:"


class ChunkReader:
    """Collects the lines of one response; `end` reads one that is no stream but a whole answer.

    `is_done` after `[DONE]`, `is_finished` once every choice has its finish reason. Some servers
    put one into every chunk: `is_settled` tells that nothing came behind one, `is_closing` that it
    came without output as well. `batch` is what the last `feed` or `end` made, also if that raised:
    it came before the fault.
    Counts what it has seen, so that a stream that was cut can be booked.

    Source: the event stream format of WHATWG HTML, section 9.2, as far as OpenAI-compatible servers
        use it (one `data:` line per event), and OpenAI's `chat.completion.chunk`.
    """

    def __init__(self, provider: str, *, choices: int, max_bytes: int, max_pieces: int) -> None:
        self._provider = provider
        self._choices = choices
        self._max_bytes = max_bytes
        self._max_pieces = max_pieces
        self._rest = bytearray()
        self._whole: bytearray | None = None
        self._has_begun = False
        self._has_choice = False
        self._finished: set[int] = set()
        self._closed_apart = False
        self._went_on = False
        self._places: dict[int, CallPlaces] = {}
        self.bytes_read = 0
        self.pieces_read = 0
        self.is_done = False
        self.batch: Batch = []

    @property
    def is_finished(self) -> bool:
        """Whether the provider gave a finish reason for every choice."""
        return len(self._finished) >= self._choices

    @property
    def is_closing(self) -> bool:
        """Whether all is said, by all appearance: usage and `[DONE]` may follow."""
        return self.is_finished and self._closed_apart and not self._went_on

    @property
    def is_settled(self) -> bool:
        """Whether the provider's finish reasons can be believed without `[DONE]`."""
        return self.is_finished and not self._went_on

    @property
    def is_complete(self) -> bool:
        """Whether this is an answer: `[DONE]` alone, without any choice before it, is none."""
        return self.is_finished or (self.is_done and self._has_choice)

    def feed(self, data: bytes) -> Batch:
        """The pieces that became complete with `data`.

        Raises:
            Transient: no event stream, or an error that may pass, inside the stream.
            Permanent: an error that will not, or a response beyond its limits.
        """
        batch: Batch = []
        self.batch = batch
        self.bytes_read += len(data)
        if self.bytes_read > self._max_bytes:
            raise _too_large(f"{self._max_bytes} bytes")
        if not self._has_begun:
            self._begin(data)
        if self._whole is not None:
            self._whole += data
            return batch
        end = data.rfind(b"\n")
        if end < 0:
            self._rest += data
            return batch
        block = bytes(self._rest) + data[:end] if self._rest else data[:end]
        self._rest = bytearray(data[end + 1 :])
        for line in block.split(b"\n"):
            # Everything else is an `event:`, `id:`, comment or empty line.
            if line.startswith(_DATA):
                self._take(line[len(_DATA) :].strip(), batch)
        return batch

    def end(self) -> Batch:
        """The pieces of a body that came as one JSON answer; none if it was an event stream.

        Raises:
            Transient, Permanent: as `feed`.
        """
        batch: Batch = []
        self.batch = batch
        if self._whole is not None:
            self._take(as_chunk(bytes(self._whole)), batch)
        return batch

    def _begin(self, data: bytes) -> None:
        start = data.lstrip()
        self._has_begun = bool(start)
        if start.startswith(b"{"):
            self._whole = bytearray()

    def _take(self, payload: bytes, batch: Batch) -> None:
        if payload == b"[DONE]":
            self.is_done = True
            return
        try:
            chunk = orjson.loads(payload)
            if chunk.get("error"):
                raise fault_in_stream(self._provider, chunk["error"])
            self._read(chunk, batch)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
            raise Transient(
                "the provider sent a chunk that is no chat chunk; the job is tried again",
                code="provider_bad_stream",
                was_charged=True,
            ) from None
        if self.pieces_read > self._max_pieces:
            raise _too_large(f"{self._max_pieces} tokens")

    def _read(self, chunk: dict[str, Any], batch: Batch) -> None:
        for choice in chunk.get("choices") or ():
            self._has_choice = True
            index = int(choice.get("index") or 0)
            delta = choice.get("delta")
            before = len(batch)
            if delta or choice.get("logprobs"):
                self._read_delta(index, delta or {}, choice, batch)
            has_output = len(batch) > before
            if has_output and index in self._finished:
                self._went_on = True
            reason = choice.get("finish_reason")
            if reason:  # some servers send "" in each chunk
                self._finished.add(index)
                self._closed_apart = not has_output
                batch.append(Finish(index, str(reason)))
        usage = chunk.get("usage")
        if usage:
            tokens = _tokens(usage)
            if any(tokens):  # some servers send zeros in each chunk before the last
                batch.append(tokens)

    def _read_delta(
        self, index: int, delta: dict[str, Any], choice: dict[str, Any], batch: Batch
    ) -> None:
        before = len(batch)
        text = delta.get("content")
        logprobs = choice.get("logprobs")
        entries = logprobs.get("content") if logprobs else None
        if text:
            batch.append(Piece("text", index, _string(text), logprobs=entries))
            self.pieces_read += 1
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought:
            batch.append(Piece("reasoning", index, _string(thought)))
            self.pieces_read += 1
        refusal = delta.get("refusal")
        if refusal:
            batch.append(Piece("refusal", index, _string(refusal)))
            self.pieces_read += 1
        calls = delta.get("tool_calls")
        if calls:
            places = self._places.setdefault(index, CallPlaces())
            batch += [_call_piece(index, call, places) for call in calls]
            self.pieces_read += len(calls)
        if entries and len(batch) == before:
            # A token without text of its own, as half a character is.
            batch.append(Piece("text", index, "", logprobs=entries))
            self.pieces_read += 1


def _call_piece(choice: int, call: dict[str, Any], places: CallPlaces) -> Piece:
    function = call.get("function") or {}
    id_, name, told = call.get("id") or None, function.get("name") or None, call.get("index")
    place = places.of(None if told is None else int(told), id_, name)
    return Piece("tool_call", choice, _string(function.get("arguments") or ""), place, id_, name)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _tokens(usage: dict[str, Any]) -> Tokens:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Tokens(
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _count(prompt.get("cached_tokens")),
        _count(completion.get("reasoning_tokens")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _too_large(limit: str) -> Permanent:
    return Permanent(
        f"the provider's answer went beyond {limit} and was cut off; lower max_tokens, or raise "
        "the provider's max_response_bytes or max_response_tokens",
        code="response_too_large",
        was_charged=True,
    )
