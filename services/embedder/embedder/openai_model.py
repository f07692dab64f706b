"""An OpenAI-compatible endpoint for embeddings, through the openai SDK's client."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from penstock_kit.errors import Rejected

from embedder.errors import ModelAway
from embedder.ports import Embedded, ModelSpec, TokenizedText, Word
from embedder.vectors import unit_rows

if TYPE_CHECKING:
    import httpx2

__all__ = ["OpenAIModel"]

_WORD = re.compile(r"[A-Za-z]+|[0-9]{1,3}|[^\sA-Za-z0-9]+|\s{2,}")
_CHARS_PER_TOKEN = 4
"""Of English words in OpenAI's vocabularies, rounded so that short words count as one."""
_BYTES_PER_TOKEN = 2
"""Of punctuation and other scripts: rather too many tokens than too few."""
_REFUSED = frozenset({400, 413, 415, 422})
_MAX_ERROR_BYTES = 4096
"""So much of what the endpoint says about an error is read, and kept for the operator."""
_BYTES_PER_NUMBER = 32
"""More than JSON needs for a float32, spaces and line ends included."""
_BYTES_BESIDE = 1024 * 1024
"""What may stand around the numbers of an answer."""
_OK = 200


class OpenAIModel:
    """Implements `EmbeddingModel`. One call is one request: attempts are counted by us.

    Redirects are not followed: texts and key would go elsewhere. `timeout` is for a whole request.

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
        self._http: httpx2.AsyncClient | None = None
        self._url = ""
        self._headers: dict[str, str] = {}

    async def start(self) -> None:
        """Make the client; the endpoint need not be reachable yet."""
        self._http = await asyncio.to_thread(self._load)

    async def stop(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    def _load(self) -> httpx2.AsyncClient:
        import openai  # noqa: PLC0415 - 40 MB that local models do not need

        http = openai.DefaultAsyncHttpxClient(timeout=self._timeout_s, follow_redirects=False)
        # For its address and headers; its own calls read answers of any length.
        client = openai.AsyncOpenAI(
            base_url=self._base_url,
            api_key="none",  # the SDK demands one; what is sent stands in the headers
            http_client=http,
            default_headers={"Accept-Encoding": "identity"},
        )
        self._url = f"{client.base_url}embeddings"
        self._headers = {
            name: text for name, text in client.default_headers.items() if isinstance(text, str)
        }
        if self._api_key is not None:
            self._headers["Authorization"] = f"Bearer {self._api_key}"
        return http

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
        expected = dimensions or self.spec.dimensions
        asked: dict[str, Any] = {
            "model": self.spec.name,
            "input": [text.text if text.ids is None else text.ids.tolist() for text in batch],
            "encoding_format": "float",
        }
        if dimensions is not None:
            asked["dimensions"] = dimensions
        limit = len(batch) * expected * _BYTES_PER_NUMBER + _BYTES_BESIDE
        body = await self._post(orjson.dumps(asked), limit=limit)
        return _read(body, texts=len(batch), expected=expected)

    async def _post(self, body: bytes, *, limit: int) -> bytes:
        import httpx2  # noqa: PLC0415 - loaded since start

        assert self._http is not None, "start() comes first"
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._http.stream(
                    "POST", self._url, headers=self._headers, content=body
                ) as response,
            ):
                if response.status_code != _OK:
                    raise _translated(response, await _start_of(response, _MAX_ERROR_BYTES))
                answer = await _start_of(response, limit + 1)
        except (httpx2.HTTPError, TimeoutError) as error:
            raise ModelAway(
                f"the embedding endpoint does not answer ({type(error).__name__}); trying again"
            ) from error
        if len(answer) > limit:
            raise ModelAway(
                f"the embedding endpoint sent more than {limit} bytes, too many for the vectors "
                "asked for; correct PENSTOCK_EMBEDDER__MODEL__BASE_URL, or the endpoint"
            )
        return answer


async def _start_of(response: httpx2.Response, size: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) >= size:
            break
    return bytes(body[:size])


def _read(body: bytes, *, texts: int, expected: int) -> Embedded:
    """The vectors of an answer.

    Raises:
        ModelAway: it is no answer to what was asked; no text is to blame.
    """
    try:
        answer = orjson.loads(body)
        rows = {one["index"]: one["embedding"] for one in answer["data"]}
        widths = {len(row) for row in rows.values()}
        if sorted(rows) != list(range(texts)) or widths != {expected}:
            raise ModelAway(
                f"the embedding endpoint sent {len(rows)} vectors of {sorted(widths)} dimensions, "
                f"not {texts} of {expected}; correct PENSTOCK_EMBEDDER__MODEL__DIMENSIONS, or "
                "the endpoint"
            )
        vectors = np.array([rows[index] for index in range(texts)], dtype=np.float32)
        billed = (answer.get("usage") or {}).get("prompt_tokens")  # some leave it out
        is_count = isinstance(billed, int) and billed >= 0
        return Embedded(unit_rows(vectors.reshape(texts, expected)), billed if is_count else None)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelAway(
            "the embedding endpoint answered something that is no list of vectors; correct "
            "PENSTOCK_EMBEDDER__MODEL__BASE_URL, or the endpoint",
            answer=body[:_MAX_ERROR_BYTES].decode(errors="replace"),
        ) from error


def _translated(response: httpx2.Response, body: bytes) -> Exception:
    """Ours; the endpoint's own words stay out, for they may quote texts."""
    status = response.status_code
    if status in _REFUSED:
        return Rejected(
            f"the embedding endpoint refuses the text (HTTP {status}); shorten or change it",
            code="model_refused",
        )
    return ModelAway(
        f"the embedding endpoint answers HTTP {status}; trying again",
        retry_after_s=_retry_after(response),
        answer=body.decode(errors="replace"),
    )


def _retry_after(response: httpx2.Response) -> float | None:
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def _costs(text: str) -> list[int]:
    return [_cost(found) for found in _WORD.findall(text) if not found.isspace()]


def _cost(word: str) -> int:
    if word.isascii() and word.isalnum():
        return math.ceil(len(word) / _CHARS_PER_TOKEN)
    return math.ceil(len(word.encode(errors="replace")) / _BYTES_PER_TOKEN)
