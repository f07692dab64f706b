"""Files that callers keep here: the body of `ai.files.v1` (compacted, key = file id).

A tombstone says that the file was deleted or has expired.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from penstock_contracts.models import Fact, Identifier, Timestamp
from penstock_contracts.parts import BlobRef

__all__ = ["FilePurpose", "FileRecord"]


class FilePurpose(StrEnum):
    """What a file is for, in OpenAI's words."""

    BATCH = "batch"
    """Input of a batch, sent by a caller."""
    BATCH_OUTPUT = "batch_output"
    """Output or errors of a batch, written by us."""


class FileRecord(Fact):
    """A file whose content is stored; it never changes."""

    id: str = Field(pattern=r"^file-[0-9a-f]{42}$")
    tenant: Identifier
    user: Identifier
    filename: str = Field(min_length=1, max_length=512)
    purpose: FilePurpose
    blob: BlobRef
    created_at: Timestamp
    expires_at: Timestamp = Field(description="From then on the file is gone.")
