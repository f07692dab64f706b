from __future__ import annotations

from pathlib import Path

import pytest
from notifier.close_codes import CLOSE_CODES, Close, Then, reason_text

PAGE = Path(__file__).parents[3] / "docs" / "websocket.md"


def test_page_when_read_then_lists_every_code_as_the_server_means_it() -> None:
    rows = [
        f"| {close.code} | {close.name} | {close.then.value} | {close.meaning} |"
        for close in CLOSE_CODES
    ]

    table = PAGE.read_text().partition("<!-- close codes")[2].split("\n\n")[0]

    assert table.splitlines()[3:] == rows


def test_codes_when_listed_then_once_each_and_reconnecting_ones_first() -> None:
    codes = [close.code for close in CLOSE_CODES]

    assert len(set(codes)) == len(codes)
    assert [close.then for close in CLOSE_CODES] == sorted(
        (close.then for close in CLOSE_CODES), key=[Then.RECONNECT, Then.FINAL].index
    )


@pytest.mark.parametrize("close", CLOSE_CODES)
def test_reason_when_written_then_fits_a_close_frame(close: Close) -> None:
    assert len(reason_text(close, resume_after_ms=30_000).encode()) <= 123
    assert len(reason_text(close).encode()) <= 123
