"""An ONNX sentence encoder that runs in this process: by default int8 all-MiniLM-L6-v2."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedder.errors import ModelMissing, unknown_token
from embedder.ports import Embedded, ModelSpec, TokenizedText, Word
from embedder.vectors import mean_pooled, unit_rows
from embedder.weights import find_model_file, read_tokenizer_json

if TYPE_CHECKING:
    from onnxruntime import (  # type: ignore[import-untyped]  # it ships no types
        InferenceSession,
    )
    from tokenizers import Encoding, Tokenizer

__all__ = ["LocalModel"]

_FRAME = ("[CLS]", "[SEP]")
_ADDED_TOKENS = len(_FRAME)


class LocalModel:
    """Implements `EmbeddingModel` with onnxruntime; mean pooling over the mask, unit length.

    Inference runs in one named thread: onnxruntime uses the cores itself, a second batch would only
    share them. Tokenizing runs in another, so that the next batch is ready when the model is.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        threads: int,
        model_path: Path | None = None,
        tokenizer_path: Path | None = None,
    ) -> None:
        self.spec = spec
        self._threads = threads
        self._model_path = model_path
        self._tokenizer_path = tokenizer_path
        self._session: InferenceSession | None = None
        self._tokenizer: Tokenizer | None = None
        self._inference = ThreadPoolExecutor(1, thread_name_prefix="embedder-model")
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="embedder-tokenizer")

    async def start(self) -> None:
        """Load the weights and run them once, so that the first job does not pay for it."""
        loop = asyncio.get_running_loop()
        self._tokenizer = await loop.run_in_executor(self._tokenizing, self._load_tokenizer)
        self._session = await loop.run_in_executor(self._inference, self._load_session)
        warm = await self.embed(await self.tokenize(["ready"]))
        if warm.vectors.shape != (1, self.spec.dimensions):
            raise ModelMissing(
                f"the model gives vectors of {warm.vectors.shape[1]} dimensions, the settings say "
                f"{self.spec.dimensions}; correct PENSTOCK_EMBEDDER__MODEL__DIMENSIONS"
            )
        await loop.run_in_executor(self._inference, _return_free_memory)

    async def stop(self) -> None:
        """Let the running batch end, then release the threads."""
        for pool in (self._tokenizing, self._inference):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)
        self._session = self._tokenizer = None

    async def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """The texts with token ids, [CLS] and [SEP] included."""
        encodings = await self._encode(texts, special=True)
        return [
            TokenizedText(text, len(ids), ids)
            for text, encoding in zip(texts, encodings, strict=True)
            for ids in (np.array(encoding.ids, dtype=np.int64),)
        ]

    async def from_ids(self, lists: Sequence[Sequence[int]]) -> list[TokenizedText]:
        """The ids with [CLS] and [SEP] around them, as the tokenizer would put them."""
        assert self._tokenizer is not None, "start() comes first"
        vocabulary = self._tokenizer.get_vocab_size()
        first, last = (self._tokenizer.token_to_id(name) for name in _FRAME)
        for index, ids in enumerate(lists):
            unknown = next((token for token in ids if not 0 <= token < vocabulary), None)
            if unknown is not None:
                raise unknown_token(index, unknown, vocabulary=vocabulary)
        framed = [np.array([first, *ids, last], dtype=np.int64) for ids in lists]
        return [TokenizedText("", len(ids), ids) for ids in framed]

    async def words(self, text: str) -> list[Word]:
        """Words as the tokenizer separates them: at spaces, punctuation and each CJK character."""
        [encoding] = await self._encode([text], special=False)
        return _words(encoding)

    async def embed(
        self, batch: Sequence[TokenizedText], *, dimensions: int | None = None
    ) -> Embedded:
        """(batch, dimensions) float32, unit length; this model cannot shorten."""
        del dimensions
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._inference, self._infer, list(batch))

    def _infer(self, batch: list[TokenizedText]) -> Embedded:
        assert self._session is not None, "start() comes first"
        ids = np.zeros((len(batch), max(text.tokens for text in batch)), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(batch):
            assert text.ids is not None, "texts of this model carry ids"
            ids[row, : text.tokens] = text.ids
            mask[row, : text.tokens] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden: Any = self._session.run(None, feed)[0]
        return Embedded(unit_rows(mean_pooled(hidden, mask)))

    async def _encode(self, texts: Sequence[str], *, special: bool) -> list[Encoding]:
        assert self._tokenizer is not None, "start() comes first"
        tokenizer = self._tokenizer
        return await asyncio.get_running_loop().run_in_executor(
            self._tokenizing,
            lambda: tokenizer.encode_batch(list(texts), add_special_tokens=special),
        )

    def _load_tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer  # noqa: PLC0415 - only processes that run a local model pay for it

        tokenizer = Tokenizer.from_str(read_tokenizer_json(self._tokenizer_path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _load_session(self) -> InferenceSession:
        import onnxruntime  # noqa: PLC0415 - the same

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(
            str(find_model_file(self._model_path)), options, providers=["CPUExecutionProvider"]
        )


def _words(encoding: Encoding) -> list[Word]:
    words: list[Word] = []
    last: int | None = None
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
        if word is not None and word == last:
            words[-1] = Word(words[-1].start, end, words[-1].tokens + 1)
        else:
            words.append(Word(start, end, 1))
        last = word
    return words


def _return_free_memory() -> None:
    """Give back what loading left; glibc would keep about 60 MB of it."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
