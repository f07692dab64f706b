"""Reading an input file line by line, whatever the chunks are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from gateway.openai.batches.lines import RawLine, numbered_lines


async def read(data: bytes, *, chunk: int, max_bytes: int = 100) -> list[tuple[int, bytes | None]]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), chunk):
            yield data[start : start + chunk]

    found: list[RawLine] = []
    async for lines in numbered_lines(chunks(), max_bytes=max_bytes):
        found += lines
    return [(line.number, line.raw) for line in found]


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
async def test_lines_when_cut_anywhere_then_numbers_and_content_are_the_same(chunk: int) -> None:
    data = b"one\n\n  \ntwo\r\nthree"

    assert await read(data, chunk=chunk) == [(1, b"one"), (4, b"two\r"), (5, b"three")]


@pytest.mark.parametrize("chunk", [1, 50, 1000])
async def test_line_when_too_long_then_only_its_number_is_kept(chunk: int) -> None:
    data = b"ok\n" + b"x" * 500 + b"\nok\n" + b"y" * 500

    assert await read(data, chunk=chunk) == [(1, b"ok"), (2, None), (3, b"ok"), (4, None)]
