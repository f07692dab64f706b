"""Part 2: this repository's documentation goes in, and a question finds the right passage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from penstock_contracts.parts import IngestOutput, SearchOutput

from penstock.client import AsyncClient
from penstock.demo.report import Report

__all__ = ["find_docs", "show_search"]

_COLLECTION = "penstock-docs"
_QUESTION = "How does a service sign the events that it produces to Kafka itself?"
_RIGHT_DOCUMENT = "docs/direct-producers.md"
_TIMEOUT_S = 300.0


def find_docs() -> tuple[Path, ...]:
    """The Markdown files in `docs/` of this repository, or of the present folder."""
    for root in (Path(__file__).parents[4], Path.cwd()):
        if (root / _RIGHT_DOCUMENT).is_file():
            return tuple(sorted((root / "docs").rglob("*.md")))
    return ()


async def show_search(client: AsyncClient, report: Report, *, docs: Sequence[Path]) -> None:
    """Run the part.

    Raises:
        DemoFailed: another passage came first.
        ClientError: the stack refused something.
    """
    report.check(bool(docs), f"{_RIGHT_DOCUMENT} in the repository")
    async with asyncio.timeout(_TIMEOUT_S):
        job = await client.submit("ingest", _ingest_input(docs))
        report.step(f"POST /v1/jobs answered 202: ingest of {len(docs)} documents is {job.id}")
        ingested = await client.result(job.id)
        report.check(isinstance(ingested, IngestOutput), "the result of an ingest")
        assert isinstance(ingested, IngestOutput)
        report.step(f"{ingested.documents} documents are {ingested.chunks} passages now")
        job = await client.submit(
            "search", {"collection": _COLLECTION, "query": _QUESTION, "limit": 3}
        )
        found = await client.result(job.id)
    report.check(isinstance(found, SearchOutput) and bool(found.hits), "passages")
    assert isinstance(found, SearchOutput)
    best = found.hits[0]
    report.step(f"asked: {_QUESTION}")
    report.step(f"found in {best.document}, passage {best.chunk}, score {best.score:.2f}")
    report.check(
        best.document == _RIGHT_DOCUMENT, f"a passage of {_RIGHT_DOCUMENT}, not {best.document}"
    )
    report.step(f"passage: {' '.join(best.text.split())[:100]}…")


def _ingest_input(docs: Sequence[Path]) -> dict[str, object]:
    root = next(parent for doc in docs for parent in doc.parents if parent.name == "docs").parent
    return {
        "collection": _COLLECTION,
        "documents": [
            {
                "id": doc.relative_to(root).as_posix(),
                "text": doc.read_text(encoding="utf-8"),
                "metadata": {"title": doc.stem},
            }
            for doc in docs
        ],
    }
