"""A multipart form read as it comes: fields whole, files piece by piece, nothing beside that."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.arriving import Arriving
from gateway.errors import ApiError
from gateway.http import ClientGoneError, Receive

__all__ = ["FormLimits", "FormPart", "FormReader", "form_boundary"]

_MAX_HEADER_BYTES: Final = 8 * 1024
_MAX_PARTS: Final = 32
_MAX_FIELD_BYTES: Final = 4 * 1024
_MAX_OPENING_BYTES: Final = 8 * 1024
_NOT_SEPARATED: Final = "the parts are not separated as the Content-Type says"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormLimits:
    """How large a file may be, and how long its sender may be silent."""

    max_file_bytes: int
    stall_s: float


@dataclass(slots=True)
class FormPart:
    """One part of a form; a part without `filename` is a field."""

    name: str = ""
    filename: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


class _End:
    """A part is over."""


_END: Final = _End()


def form_boundary(content_type: str | None) -> bytes:
    """What separates the parts.

    Raises:
        ApiError: unsupported_media_type, malformed_form.
    """
    kind, options = parse_options_header(content_type or "")
    if kind != b"multipart/form-data":
        message = "a file is sent as multipart/form-data, with the fields purpose and file"
        raise ApiError(
            "unsupported_media_type", message, headers={"accept-post": "multipart/form-data"}
        )
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:  # noqa: PLR2004 - RFC 2046, section 5.1.1
        raise _malformed("the Content-Type has no boundary that separates the parts")
    return boundary


class _Opening:
    """What may stand before the first part: any text, and blanks behind the first boundary.

    The parser takes both for faults. Source: RFC 2046, section 5.1.1.
    """

    def __init__(self, boundary: bytes) -> None:
        self.is_over = False
        self._plain = b"--" + boundary + b"\r\n"
        self._first = re.compile(rb"^--" + re.escape(boundary) + rb"[ \t]*\r\n", re.MULTILINE)
        self._text = b""

    def after(self, data: bytes) -> bytes:
        """What the parser is to read of the next bytes.

        Raises:
            ApiError: malformed_form.
        """
        if self.is_over:
            return data
        self._text += data
        first = self._first.search(self._text)
        if first is None:
            if len(self._text) > _MAX_OPENING_BYTES:
                raise _malformed(_NOT_SEPARATED)
            return b""
        self.is_over = True
        return self._plain + self._text[first.end() :]


class FormReader:
    """Pulls a form out of a request. One reader; parts in order, each read before the next."""

    def __init__(self, receive: Receive, boundary: bytes, limits: FormLimits) -> None:
        self._arriving = Arriving(receive, stall_s=limits.stall_s)
        self._limits = limits
        self._events: deque[FormPart | bytes | _End] = deque()
        self._parts = 0
        self._header_bytes = 0
        self._name = self._value = b""
        self._part = FormPart()
        self._is_whole = self._is_read = False
        self._opening = _Opening(boundary)
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    async def next_part(self) -> FormPart | None:
        """The next part; None at the end of the form. What is left of the last one is skipped.

        Raises:
            ApiError: malformed_form, upload_cut.
            ClientGoneError: the caller hung up.
        """
        while True:
            event = await self._next()
            if event is None or isinstance(event, FormPart):
                return event

    async def field(self) -> str:
        """The text of the part that `next_part` gave.

        Raises:
            ApiError: as `next_part`.
            ClientGoneError: the caller hung up.
        """
        text = b"".join([piece async for piece in self._pieces(_MAX_FIELD_BYTES)])
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise _malformed("a field is not UTF-8") from None

    async def file(self) -> AsyncIterator[bytes]:
        """The content of the part that `next_part` gave.

        Raises:
            ApiError: body_too_large, malformed_form, upload_cut.
            ClientGoneError: the caller hung up.
        """
        async for piece in self._pieces(self._limits.max_file_bytes):
            yield piece

    async def _pieces(self, max_bytes: int) -> AsyncIterator[bytes]:
        size = 0
        while True:
            event = await self._next()
            if not isinstance(event, bytes):
                return
            size += len(event)
            if size > max_bytes:
                message = f"a part of the form is larger than {max_bytes} bytes; send less"
                raise ApiError("body_too_large", message, headers={"connection": "close"})
            yield event

    async def _next(self) -> FormPart | bytes | _End | None:
        while not self._events:
            if self._is_read:
                if not self._opening.is_over:
                    raise _malformed(_NOT_SEPARATED)
                if not self._is_whole:
                    raise _cut()
                return None
            await self._read_on()
        return self._events.popleft()

    async def _read_on(self) -> None:
        try:
            message = await self._arriving.next()
        except TimeoutError:
            text = "the rest of the upload did not come in time; nothing is kept, send it again"
            raise ApiError("upload_stalled", text, headers={"connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        try:
            self._parser.write(self._opening.after(message.get("body", b"")))
        except FormParserError:
            raise _malformed(_NOT_SEPARATED) from None
        self._is_read = not message.get("more_body", False)

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise _malformed(f"a form has at most {_MAX_PARTS} parts")
        self._part = FormPart()

    def _on_header_field(self, chunk: bytes, start: int, end: int) -> None:
        self._name += self._counted(chunk[start:end])

    def _on_header_value(self, chunk: bytes, start: int, end: int) -> None:
        self._value += self._counted(chunk[start:end])

    def _on_header_end(self) -> None:
        # Bytes as they came: the parser of options takes no other characters, and gives bytes back.
        self._part.headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        self._header_bytes = 0
        kind, options = parse_options_header(self._part.headers.get("content-disposition", ""))
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("a part has no Content-Disposition with a name")
        self._part.name = options[b"name"].decode("utf-8", "replace")
        if b"filename" in options:
            self._part.filename = options[b"filename"].decode("utf-8", "replace")
        self._events.append(self._part)

    def _on_part_data(self, chunk: bytes, start: int, end: int) -> None:
        self._events.append(bytes(chunk[start:end]))

    def _on_part_end(self) -> None:
        self._events.append(_END)

    def _on_end(self) -> None:
        self._is_whole = True

    def _counted(self, piece: bytes) -> bytes:
        self._header_bytes += len(piece)
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise _malformed(f"the headers of a part are longer than {_MAX_HEADER_BYTES} bytes")
        return piece


def _malformed(problem: str) -> ApiError:
    message = f"{problem}; send multipart/form-data with the fields purpose and file"
    return ApiError("malformed_form", message, headers={"connection": "close"})


def _cut() -> ApiError:
    message = "the upload ended before its form did; nothing is kept, send it again"
    return ApiError("upload_cut", message, headers={"connection": "close"})
