"""Files as OpenAI shows them."""

from __future__ import annotations

from typing import Any, Literal

from penstock_contracts.files import FileRecord
from pydantic import BaseModel, Field

from gateway.openai.files.desk import FilePage

__all__ = [
    "FileBody",
    "FileDeletedBody",
    "FileListBody",
    "UploadDocument",
    "file_view",
    "page_view",
]


class FileBody(BaseModel):
    """A file."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]


class FileListBody(BaseModel):
    """One page of files."""

    object: Literal["list"]
    data: list[FileBody]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeletedBody(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class UploadDocument(BaseModel):
    """A file to keep, as a multipart form."""

    purpose: Literal["batch"]
    file: str = Field(json_schema_extra={"format": "binary"})


def file_view(file: FileRecord) -> dict[str, Any]:
    """One file."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.blob.size_bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose.value,
        "status": "processed",
    }


def page_view(page: FilePage) -> dict[str, Any]:
    """A page of files."""
    files = [file_view(file) for file in page.files]
    return {
        "object": "list",
        "data": files,
        "first_id": files[0]["id"] if files else None,
        "last_id": files[-1]["id"] if files else None,
        "has_more": page.has_more,
    }
