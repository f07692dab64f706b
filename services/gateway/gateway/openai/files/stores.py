"""Where files and batches lie: their content, and the views of their records."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_kit.batches.events import BatchEvents
from penstock_kit.batches.recalls import Recalls
from penstock_kit.batches.shelf import Shelf

from gateway.openai.files.desk import FileContents

__all__ = ["BatchStores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStores:
    """Made from Redis and the blob store; in tests from memory."""

    contents: FileContents
    files: Shelf
    batches: Shelf
    events: BatchEvents
    recalls: Recalls
