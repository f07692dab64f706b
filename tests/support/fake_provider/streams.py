"""Running answers: token by token in time, with the scripted faults at their places."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice

from tests.support.fake_provider.answers import Answer
from tests.support.fake_provider.http import HttpConnection, chunked
from tests.support.fake_provider.journal import Call, Journal
from tests.support.fake_provider.script import Script

__all__ = ["TokenStream", "flood", "loris"]

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"
_ERROR_EVENT = b'data: {"error":{"message":"the model broke","type":"server_error","code":500}}\n\n'


@dataclass(slots=True)
class TokenStream:
    """A streamed answer that the pacer steps; the response head goes with the first token."""

    connection: HttpConnection
    journal: Journal
    call: Call
    script: Script
    answer: Answer
    _sent: int = 0
    _chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))
    _has_opened: bool = False

    def step(self, now: float) -> float | None:
        """Send the next token, or what the script has at this place."""
        if self.call.is_over:
            return None
        self._open()
        if self._meets_fault():
            return None
        total = len(self.answer.pieces)
        if self._sent < total:
            data = b"".join(islice(self._chunks, self.answer.choices))
            self._sent += 1
            self.call.tokens = self._sent
            self.connection.write(chunked(data))
        if self._sent >= total and not self._has_fault_ahead():
            self._close(self.answer.closing(), "completed")
            return None
        return now + (1 / self.script.rate if self.script.rate > 0 else 0)

    def _open(self) -> None:
        if self._has_opened:
            return
        self._has_opened = True
        self._chunks = self.answer.chunks()
        opening = self.answer.opening()
        if self.script.huge_bytes:
            huge = b'data: {"id":"huge","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
            opening += huge % (b"x" * self.script.huge_bytes)
        if self.script.line_bytes:
            opening += b"data: " + b"y" * self.script.line_bytes
        self.connection.write(STREAM_HEAD + chunked(opening))

    def _meets_fault(self) -> bool:
        script, sent = self.script, self._sent
        if script.hang == sent + 1:
            return True
        if script.cut == sent:
            self.journal.ended(self.call, "cut")
            self.connection.abort()
            return True
        if script.end == sent:
            self._close(b"", "ended")
            return True
        if script.error == sent:
            self._close(_ERROR_EVENT, "ended")
            return True
        if script.malformed == sent:
            self.connection.write(chunked(b'data: {"id": "broken", "choices": [\n\n'))
        if script.garbage == sent:
            self.connection.write(chunked(b"\x00\xff\xfe<html>not an event stream</html>\n\n"))
        return False

    def _has_fault_ahead(self) -> bool:
        return self._sent in (
            self.script.hang - 1,
            self.script.cut,
            self.script.end,
            self.script.error,
        )

    def _close(self, data: bytes, how: str) -> None:
        self.journal.ended(self.call, how)
        self.connection.write((chunked(data) if data else b"") + _END)
        self.connection.finish()


async def loris(
    connection: HttpConnection, journal: Journal, call: Call, answer: Answer, *, pause_s: float
) -> None:
    """Send a correct answer one byte at a time."""
    data = STREAM_HEAD + chunked(answer.opening() + b"".join(answer.chunks()) + answer.closing())
    for byte in data + _END:
        if call.is_over:
            return
        connection.write(bytes([byte]))
        await asyncio.sleep(pause_s)
    journal.ended(call, "completed")
    connection.finish()


async def flood(
    connection: HttpConnection, journal: Journal, call: Call, answer: Answer, *, size: int
) -> None:
    """Send tokens as fast as the reader takes them, until `size` bytes are out."""
    block = chunked(b"".join(islice(cycle(answer.chunks()), 256)))
    connection.write(STREAM_HEAD)
    sent = 0
    while sent < size and not call.is_over:
        await connection.can_write.wait()
        connection.write(block)
        sent += len(block)
        call.tokens += 256
        await asyncio.sleep(0)
    if not call.is_over:
        journal.ended(call, "completed")
        connection.write(chunked(answer.closing()) + _END)
        connection.finish()
