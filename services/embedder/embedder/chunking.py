"""Cuts documents into chunks of bounded length, at paragraph and sentence ends if possible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from embedder.ports import Word

__all__ = ["Chunk", "cut"]

_MAX_TOKENS_PER_CHAR = 3
"""A Hangul syllable decomposes into three tokens; no character is known to give more."""
_PARAGRAPH = re.compile(r"\n[ \t\r]*\n")
# Closing quotes and brackets may follow; the escapes are the full stops of CJK and a curly quote.
_SENTENCE_END = re.compile("[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\\]\u00bb]*$")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Characters `start` to `end` of a document; neighbours may overlap."""

    start: int
    end: int


def cut(text: str, words: Sequence[Word], *, size: int, overlap: int) -> list[Chunk]:
    """Chunks of at most `size` tokens that together cover every word, in order.

    A chunk ends behind the last paragraph of its second half, else the last sentence, else the last
    line, else the last word that fits. The next one begins up to `overlap` tokens earlier, at a
    sentence if one begins there. `overlap` is at most half of `size`.
    """
    pieces = _pieces(words, size)
    if not pieces:
        return []
    ranks = _ranks(text, pieces)
    chunks: list[Chunk] = []
    first = 0
    while True:
        end = _end(pieces, ranks, first, size=size, overlap=overlap)
        chunks.append(Chunk(pieces[first].start, pieces[end - 1].end))
        if end == len(pieces):
            return chunks
        first = _begin(pieces, ranks, first, end, overlap=overlap)


def _pieces(words: Sequence[Word], size: int) -> list[Word]:
    """The words, those longer than a chunk cut into parts that surely fit."""
    pieces: list[Word] = []
    for word in words:
        if word.tokens <= size:
            pieces.append(word)
            continue
        step = max(1, size // _MAX_TOKENS_PER_CHAR)
        for start in range(word.start, word.end, step):
            end = min(start + step, word.end)
            pieces.append(Word(start, end, min(size, (end - start) * _MAX_TOKENS_PER_CHAR)))
    return pieces


def _ranks(text: str, pieces: Sequence[Word]) -> list[int]:
    """How well to cut behind each piece: 3 paragraph, 2 sentence, 1 line, 0 word, -1 inside."""
    ranks = []
    for number, piece in enumerate(pieces):
        following = pieces[number + 1].start if number + 1 < len(pieces) else len(text)
        gap = text[piece.end : following]
        if _PARAGRAPH.search(gap):
            ranks.append(3)
        elif gap and _SENTENCE_END.search(text[max(0, piece.end - 4) : piece.end]):
            ranks.append(2)
        elif "\n" in gap:
            ranks.append(1)
        else:
            ranks.append(0 if gap else -1)
    return ranks


def _end(
    pieces: Sequence[Word], ranks: Sequence[int], first: int, *, size: int, overlap: int
) -> int:
    """One behind the last piece of the chunk that begins at `first`."""
    tokens = 0
    earliest = overlap + (size - overlap) // 2
    best, best_rank = first + 1, -2
    for number in range(first, len(pieces)):
        tokens += pieces[number].tokens
        if tokens > size:
            return best
        # Below `earliest` only as a last resort: each chunk must bring enough that is new.
        rank = ranks[number] if tokens > earliest else -2
        if rank >= best_rank:
            best, best_rank = number + 1, rank
    return len(pieces)


def _begin(
    pieces: Sequence[Word], ranks: Sequence[int], first: int, end: int, *, overlap: int
) -> int:
    """Where the next chunk begins: up to `overlap` tokens before `end`, always behind `first`."""
    tokens = 0
    earliest, sentence = end, None
    for number in range(end - 1, first, -1):
        tokens += pieces[number].tokens
        if tokens > overlap:
            break
        if ranks[number - 1] >= 0:
            earliest = number
        if ranks[number - 1] >= 1:
            sentence = number
    return earliest if sentence is None else sentence
