from __future__ import annotations

import re
from itertools import pairwise

from embedder.chunking import cut
from embedder.fake_model import FakeModel
from embedder.ports import Word
from hypothesis import given
from hypothesis import strategies as st

_WORDS = st.text(st.sampled_from("ab. \n!,éß漢"), max_size=400)


def words_of(text: str) -> list[Word]:
    return [Word(found.start(), found.end(), 1) for found in re.finditer(r"\w+|[^\w\s]", text)]


def chunks_of(text: str, *, size: int, overlap: int = 0) -> list[str]:
    spans = cut(text, words_of(text), size=size, overlap=overlap)
    return [text[span.start : span.end] for span in spans]


@given(text=_WORDS, size=st.integers(2, 40), data=st.data())
def test_cut_when_given_any_text_covers_it_in_order_within_size(
    text: str, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size // 2))
    words = words_of(text)

    chunks = cut(text, words, size=size, overlap=overlap)

    covered = [False] * len(text)
    for chunk in chunks:
        covered[chunk.start : chunk.end] = [True] * (chunk.end - chunk.start)
        assert len(words_of(text[chunk.start : chunk.end])) <= size
    assert all(covered[place] for place, char in enumerate(text) if not char.isspace())
    for left, right in pairwise(chunks):
        assert left.start < right.start
        assert left.end < right.end
        shared = text[right.start : left.end] if right.start < left.end else ""
        assert len(words_of(shared)) <= overlap


@given(
    costs=st.lists(st.integers(1, 120), max_size=60),
    size=st.integers(16, 60),
    data=st.data(),
)
def test_cut_when_words_cost_differently_stays_within_size(
    costs: list[int], size: int, data: st.DataObject
) -> None:
    """A word may cost up to three tokens per character, and more than a chunk."""
    overlap = data.draw(st.integers(0, size // 2))
    words, start = [], 0
    for cost in costs:
        length = max(1, cost // 3)
        words.append(Word(start, start + length, min(cost, 3 * length)))
        start += length + 1
    text = " ".join("x" * (word.end - word.start) for word in words)

    chunks = cut(text, words, size=size, overlap=overlap)

    for chunk in chunks:
        inside = [word for word in words if chunk.start <= word.start and word.end <= chunk.end]
        assert sum(word.tokens for word in inside) <= size
    reached = 0
    for chunk in chunks:
        assert not text[reached : chunk.start].strip()
        reached = max(reached, chunk.end)
    assert not text[reached:].strip()


def test_cut_when_a_paragraph_ends_in_the_second_half_ends_there() -> None:
    text = "one two three. four\n\nfive six. seven eight nine ten"

    assert chunks_of(text, size=8)[0] == "one two three. four"


def test_cut_when_no_paragraph_ends_takes_the_last_sentence() -> None:
    text = "one two three. four five. six seven eight nine ten"

    assert chunks_of(text, size=8)[0] == "one two three. four five."


def test_cut_when_overlap_is_asked_begins_at_a_sentence() -> None:
    text = "one two three. four five. six seven eight nine ten eleven."

    assert chunks_of(text, size=8, overlap=4)[1].startswith("four five.")


def test_cut_when_text_has_no_words_gives_nothing() -> None:
    assert chunks_of(" \n ", size=16) == []


async def test_cut_when_a_word_is_longer_than_a_chunk_cuts_inside_it() -> None:
    text = "x" * 50

    chunks = cut(text, [Word(0, 50, 50)], size=16, overlap=0)

    assert "".join(text[chunk.start : chunk.end] for chunk in chunks) == text
    assert len(await FakeModel().words(text)) == 1
