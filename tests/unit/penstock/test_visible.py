from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from penstock.cli.visible import visible


@given(st.text(alphabet=st.characters(codec=None)))
def test_visible_leaves_nothing_that_steers_a_terminal(text: str) -> None:
    for keep_lines in (False, True):
        shown = visible(text, keep_lines=keep_lines)
        for char in shown:
            assert unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") or (
                char == "\n" and keep_lines
            )


def test_visible_shows_escapes_and_turns_of_direction() -> None:
    assert visible("\x1b[2J\u202eevil\x9b1m") == "\\x1b[2J\\u202eevil\\x9b1m"
    assert visible("a\nb\tc", keep_lines=True) == "a\nb\\x09c"
    assert visible("a\nb") == "a\\x0ab"
    assert visible(b"\xff\x00ok") == "\\xff\\x00ok"
    assert visible(None) == ""
    assert visible("größe 漢字 🙂") == "größe 漢字 🙂"
