"""The three tasks: embed texts, ingest documents, search passages."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_contracts.parts import EmbedOutput, IngestOutput, Output, SearchOutput
from penstock_contracts.requests import (
    Document,
    EmbedInput,
    FilterValue,
    IngestInput,
    SearchInput,
)
from penstock_kit.tenancy import TenantScope

from embedder.batching import Batcher
from embedder.billing import Bill
from embedder.chunking import cut
from embedder.errors import UnsupportedOption, UnusableText
from embedder.inputs import Input
from embedder.metrics import Metrics
from embedder.ports import (
    EmbeddingModel,
    Passage,
    Search,
    TokenizedText,
    Vectors,
    VectorStore,
)
from embedder.waiting import Urgency

__all__ = ["Tasks"]

_PASSAGES_AT_ONCE = 256
"""Chunks that are embedded and stored together: bounds memory, and how late a cancel is seen."""


class Tasks:
    """Does the work of a job; knows nothing of Kafka, attempts and events."""

    def __init__(
        self, *, model: EmbeddingModel, batcher: Batcher, store: VectorStore, metrics: Metrics
    ) -> None:
        self._metrics = metrics
        self._model = model
        self._batcher = batcher
        self._store = store

    async def run(self, scope: TenantScope, asked: Input, bill: Bill) -> Output:
        """The output; `bill` is right at any moment, also when this raises or is cancelled.

        Raises:
            Rejected: the input can never succeed; the message names the text or document.
            Retryable: model or store are away.
        """
        if isinstance(asked, EmbedInput):
            return await self._embed(asked, bill)
        if isinstance(asked, IngestInput):
            return await self._ingest(scope, asked, bill)
        return await self._search(scope, asked, bill)

    async def _embed(self, asked: EmbedInput, bill: Bill) -> EmbedOutput:
        dimensions = self._dimensions(asked.dimensions)
        texts = await self._texts(asked)
        vectors = await self._vectors(texts, bill, urgency=Urgency.BULK, dimensions=dimensions)
        return EmbedOutput(
            model=self._model.spec.name, dimensions=vectors.shape[1], vectors=vectors.tolist()
        )

    async def _ingest(self, scope: TenantScope, asked: IngestInput, bill: Bill) -> IngestOutput:
        """Chunks are written before surplus ones go: a search meanwhile never misses a document."""
        self._check_documents(asked)
        spec = self._model.spec
        await self._store.prepare(asked.collection, dimensions=spec.dimensions, model=spec.name)
        waiting: list[tuple[Document, int, str]] = []
        counts: dict[str, int] = {}
        for index, document in enumerate(asked.documents):
            chunks = await self._chunks(asked, document, index)
            counts[document.id] = len(chunks)
            waiting += [(document, number, text) for number, text in enumerate(chunks)]
            while len(waiting) >= _PASSAGES_AT_ONCE:
                await self._put(scope, asked.collection, waiting[:_PASSAGES_AT_ONCE], bill)
                del waiting[:_PASSAGES_AT_ONCE]
        if waiting:
            await self._put(scope, asked.collection, waiting, bill)
        await self._store.trim(scope, asked.collection, counts)
        return IngestOutput(
            collection=asked.collection, documents=len(counts), chunks=sum(counts.values())
        )

    async def _search(self, scope: TenantScope, asked: SearchInput, bill: Bill) -> SearchOutput:
        _check_filters(asked.filters)
        texts = await self._tokenized([asked.query], ["input.query"])
        vectors = await self._vectors(texts, bill, urgency=Urgency.QUERY)
        search = Search(
            vector=vectors[0],
            limit=asked.limit,
            score_threshold=asked.score_threshold,
            filters=asked.filters,
        )
        hits = await self._store.find(scope, asked.collection, search)
        return SearchOutput(collection=asked.collection, hits=hits)

    async def _chunks(self, asked: IngestInput, document: Document, index: int) -> list[str]:
        words = await self._model.words(document.text)
        if not words:
            raise UnusableText(
                f"document {document.id!r} (number {index}) has nothing to read; leave it out",
                code="empty_text",
                field=f"input.documents.{index}.text",
                index=index,
            )
        spans = cut(document.text, words, size=asked.chunk.size, overlap=asked.chunk.overlap)
        return [document.text[span.start : span.end] for span in spans]

    async def _put(
        self,
        scope: TenantScope,
        collection: str,
        chunks: Sequence[tuple[Document, int, str]],
        bill: Bill,
    ) -> None:
        texts = await self._model.tokenize([text for _, _, text in chunks])
        vectors = await self._vectors(texts, bill, urgency=Urgency.BULK)
        passages = [
            Passage(
                document=document.id,
                chunk=number,
                text=text,
                metadata=document.metadata,
                vector=vectors[row],
            )
            for row, (document, number, text) in enumerate(chunks)
        ]
        await self._store.put(scope, collection, passages)
        self._metrics.stored_passages.inc(len(passages))

    async def _vectors(
        self,
        texts: Sequence[TokenizedText],
        bill: Bill,
        *,
        urgency: Urgency,
        dimensions: int | None = None,
    ) -> Vectors:
        return await self._batcher.embed(
            texts, urgency=urgency, book=bill.add, dimensions=dimensions
        )

    async def _texts(self, asked: EmbedInput) -> list[TokenizedText]:
        if asked.tokens is not None:
            lists = await self._model.from_ids(asked.tokens)
            fields = [f"input.tokens.{index}" for index in range(len(lists))]
            return self._checked(lists, fields)
        texts = asked.texts or []
        return await self._tokenized(texts, [f"input.texts.{index}" for index in range(len(texts))])

    async def _tokenized(self, texts: Sequence[str], fields: Sequence[str]) -> list[TokenizedText]:
        return self._checked(await self._model.tokenize(texts), fields)

    def _checked(
        self, tokenized: list[TokenizedText], fields: Sequence[str]
    ) -> list[TokenizedText]:
        """The texts; one that cannot be embedded whole is refused, never cut."""
        spec = self._model.spec
        for index, (text, field) in enumerate(zip(tokenized, fields, strict=True)):
            if text.tokens <= spec.added_tokens:
                raise UnusableText(
                    f"{field}: text {index} has nothing to read; leave it out",
                    code="empty_text",
                    field=field,
                    index=index,
                )
            if text.tokens > spec.max_tokens:
                raise UnusableText(
                    f"{field}: text {index} has {text.tokens} tokens, the model {spec.name!r} "
                    f"takes {spec.max_tokens}; shorten it, or use an ingest task, which cuts into "
                    "chunks",
                    code="text_too_long",
                    field=field,
                    index=index,
                )
        return tokenized

    def _dimensions(self, asked: int | None) -> int | None:
        spec = self._model.spec
        if asked is None or asked == spec.dimensions:
            return None
        if spec.can_shorten and asked < spec.dimensions:
            return asked
        raise UnsupportedOption(
            f"dimensions {asked} is not possible: the model {spec.name!r} gives {spec.dimensions}"
            f"{' or fewer' if spec.can_shorten else ' and cannot shorten'}; leave dimensions out",
            code="unsupported_dimensions",
            field="input.dimensions",
        )

    def _check_documents(self, asked: IngestInput) -> None:
        longest = self._model.spec.max_tokens - self._model.spec.added_tokens
        if asked.chunk.size > longest:
            raise UnsupportedOption(
                f"chunk.size {asked.chunk.size} is above the {longest} tokens that the model "
                f"{self._model.spec.name!r} takes; ask for at most that",
                code="chunk_too_long",
                field="input.chunk.size",
            )
        seen: set[str] = set()
        for index, document in enumerate(asked.documents):
            if document.id in seen:
                raise UnsupportedOption(
                    f"document id {document.id!r} comes twice; the second would replace the first",
                    code="duplicate_document",
                    field=f"input.documents.{index}.id",
                )
            seen.add(document.id)
            for name in document.metadata:
                _check_name(name, f"input.documents.{index}.metadata")


def _check_filters(filters: dict[str, FilterValue]) -> None:
    for name, value in filters.items():
        _check_name(name, "input.filters")
        if isinstance(value, list | dict) and not value:
            raise UnsupportedOption(
                f"filter {name!r} is empty and would match nothing; give values or bounds",
                code="empty_filter",
                field=f"input.filters.{name}",
            )


def _check_name(name: str, field: str) -> None:
    """Quotes end a name in the store's path language, so they cannot be part of one."""
    if not name or '"' in name or "\\" in name or not name.isprintable():
        raise UnsupportedOption(
            f"{field}: the name {name!r} cannot be stored; use printable characters other than "
            "quotes and backslashes",
            code="bad_metadata_name",
            field=field,
        )
