"""What runs of batches share: their limits, and everything that they work with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from penstock_kit.batches.shelf import Shelf
from penstock_kit.clock import Clock
from penstock_kit.jobs.view import JobTable

from gateway.cancel import Canceller
from gateway.openai.batches.checking import LineTranslator
from gateway.openai.batches.files_out import FilesOut
from gateway.openai.batches.submitting import LineSubmitter
from gateway.openai.ending import Endings
from gateway.openai.files.desk import FileContents
from gateway.ports import Streams

__all__ = ["RunLimits", "RunParts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Bounds of a batch.

    Attributes:
        grace: how long lines under way may still end once the batch is called back or out of time.
        tick: how often counts are shown, silent jobs looked up and the clock read.
    """

    max_lines: int
    max_line_bytes: int
    grace: timedelta = timedelta(seconds=30)
    tick: timedelta = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """What runs of batches share."""

    contents: FileContents
    files: Shelf
    table: JobTable
    streams: Streams
    translator: LineTranslator
    submitter: LineSubmitter
    endings: Endings
    canceller: Canceller
    files_out: FilesOut
    clock: Clock
    limits: RunLimits
