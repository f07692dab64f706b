"""An OpenAI-compatible endpoint for embeddings, through the openai SDK."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from penstock_kit.errors import Rejected

from embedder.errors import ModelAway
from embedder.ports import Embedded, ModelSpec, TokenizedText, Word
from embedder.vectors import unit_rows

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

__all__ = ["OpenAIModel"]

_WORD = re.compile(r"[A-Za-z]+|[0-9]{1,3}|[^\sA-Za-z0-9]+|\s{2,}")
_CHARS_PER_TOKEN = 4
"""Of English words in OpenAI's vocabularies, rounded so that short words count as one."""
_BYTES_PER_TOKEN = 2
"""Of punctuation and other scripts: rather too many tokens than too few."""
_REFUSED = frozenset({400, 413, 415, 422})
_MAX_ANSWER_CHARS = 4096
"""So much of what the endpoint says is kept for the operator."""


class OpenAIModel:
    """Implements `EmbeddingModel`. The SDK's own retries are off: attempts are counted by us.

    Lengths before the call are estimates that rather exceed the truth; what is billed is what the
    endpoint says.
    """

    def __init__(
        self, spec: ModelSpec, *, base_url: str | None, api_key: str | None, timeout: timedelta
    ) -> None:
        self.spec = spec
        self._base_url = base_url
        self._api_key = api_key
        self._timeout_s = timeout.total_seconds()
        self._client: AsyncOpenAI | None = None

    async def start(self) -> None:
        """Make the client; the endpoint need not be reachable yet."""

        def load() -> AsyncOpenAI:
            from openai import AsyncOpenAI  # noqa: PLC0415 - 40 MB that local models do not need

            return AsyncOpenAI(
                base_url=self._base_url,
                api_key=self._api_key or "none",
                timeout=self._timeout_s,
                max_retries=0,
            )

        self._client = await asyncio.to_thread(load)

    async def stop(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Texts with estimated lengths."""
        return [TokenizedText(text, sum(_costs(text))) for text in texts]

    async def from_ids(self, lists: Sequence[Sequence[int]]) -> list[TokenizedText]:
        """The ids as they are: the endpoint alone knows its vocabulary."""
        return [TokenizedText("", len(ids), np.array(ids, dtype=np.int64)) for ids in lists]

    async def words(self, text: str) -> list[Word]:
        """Runs of letters, of digits and of other characters, with estimated costs."""
        return [
            Word(found.start(), found.end(), _cost(found.group()))
            for found in _WORD.finditer(text)
            if not found.group().isspace()
        ]

    async def embed(
        self, batch: Sequence[TokenizedText], *, dimensions: int | None = None
    ) -> Embedded:
        """(batch, dimensions) float32, scaled to unit length whatever the endpoint sends."""
        # A request takes texts or token lists; jobs of both kinds may share a batch.
        kinds = [
            [row for row, text in enumerate(batch) if (text.ids is None) == is_text]
            for is_text in (True, False)
        ]
        vectors = np.empty((len(batch), dimensions or self.spec.dimensions), dtype=np.float32)
        billed: int | None = 0
        for rows in kinds:
            if rows:
                part = await self._embed([batch[row] for row in rows], dimensions)
                vectors[rows] = part.vectors
                unknown = billed is None or part.billed_tokens is None
                billed = None if unknown else (billed or 0) + (part.billed_tokens or 0)
        return Embedded(vectors, billed)

    async def _embed(self, batch: Sequence[TokenizedText], dimensions: int | None) -> Embedded:
        import openai  # noqa: PLC0415 - loaded since start

        assert self._client is not None, "start() comes first"
        asked: Any = [text.text if text.ids is None else text.ids.tolist() for text in batch]
        try:
            answer = await self._client.embeddings.create(
                model=self.spec.name,
                input=asked,
                dimensions=openai.omit if dimensions is None else dimensions,
                encoding_format="float",
            )
        except openai.APIStatusError as error:
            raise _translated(error) from error
        except openai.APIError as error:
            raise ModelAway(
                f"the embedding endpoint does not answer ({type(error).__name__}); trying again"
            ) from error
        rows = {one.index: one.embedding for one in answer.data}
        widths = {len(row) for row in rows.values()}
        expected = dimensions or self.spec.dimensions
        if sorted(rows) != list(range(len(batch))) or widths != {expected}:
            raise ModelAway(
                f"the embedding endpoint sent {len(rows)} vectors of {sorted(widths)} dimensions, "
                f"not {len(batch)} of {expected}; correct PENSTOCK_EMBEDDER__MODEL__DIMENSIONS, or "
                "the endpoint"
            )
        vectors = np.array([rows[index] for index in range(len(batch))], dtype=np.float32)
        usage = getattr(answer, "usage", None)  # compatible endpoints may leave it out
        billed = usage.prompt_tokens if usage is not None else None
        return Embedded(unit_rows(vectors), billed)


def _translated(error: APIStatusError) -> Exception:
    """Ours; the endpoint's own words stay out, for they may quote texts."""
    status = error.status_code
    if status in _REFUSED:
        return Rejected(
            f"the embedding endpoint refuses the text (HTTP {status}); shorten or change it",
            code="model_refused",
        )
    return ModelAway(
        f"the embedding endpoint answers HTTP {status}; trying again",
        retry_after_s=_retry_after(error),
        answer=error.response.text[:_MAX_ANSWER_CHARS],
    )


def _retry_after(error: APIStatusError) -> float | None:
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def _costs(text: str) -> list[int]:
    return [_cost(found) for found in _WORD.findall(text) if not found.isspace()]


def _cost(word: str) -> int:
    if word.isascii() and word.isalnum():
        return math.ceil(len(word) / _CHARS_PER_TOKEN)
    return math.ceil(len(word.encode(errors="replace")) / _BYTES_PER_TOKEN)
