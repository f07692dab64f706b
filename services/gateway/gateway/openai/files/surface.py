"""`/v1/files` as a table."""

from __future__ import annotations

from typing import Any, Final

from gateway.openai.files.views import FileBody, FileDeletedBody, FileListBody, UploadDocument
from gateway.route_specs import ALWAYS, AUTH_ERRORS, IDEMPOTENCY_KEY, Good, RouteSpec, query

__all__ = ["FILES_SURFACE", "PAGE_ERRORS"]

_FILE: Final[dict[str, Any]] = {
    "name": "file_id",
    "in": "path",
    "required": True,
    "description": "Id of the file.",
    "schema": {"type": "string", "pattern": "^file-[0-9a-f]{42}$"},
}
_ONE: Final = (*AUTH_ERRORS, "file_not_found", "table_unavailable", *ALWAYS)
PAGE_ERRORS: Final = (
    *AUTH_ERRORS,
    "unknown_parameter",
    "invalid_type",
    "invalid_value",
    "integer_below_min_value",
    "integer_above_max_value",
    "table_unavailable",
    *ALWAYS,
)

FILES_SURFACE: Final = (
    RouteSpec(
        method="POST",
        path="/v1/files",
        handler="create_file",
        summary="Upload a file",
        about=(
            "Takes the input of a batch, at most 200 MB, as a multipart form with `purpose` and "
            "`file`. The answer comes when the file is stored and the log knows of it."
        ),
        body=UploadDocument,
        body_type="multipart/form-data",
        parameters=(IDEMPOTENCY_KEY,),
        good=(Good(200, "The file.", FileBody, headers=("Idempotent-Replayed",)),),
        errors=(
            *AUTH_ERRORS,
            "malformed_form",
            "upload_cut",
            "upload_stalled",
            "body_too_large",
            "unsupported_media_type",
            "invalid_parameter",
            "missing_required_parameter",
            "unknown_parameter",
            "unsupported_value",
            "invalid_type",
            "invalid_value",
            "integer_below_min_value",
            "integer_above_max_value",
            "idempotency_key_reused",
            "gateway_busy",
            "broker_busy",
            "acceptance_unknown",
            "table_unavailable",
            "blobs_unavailable",
            *ALWAYS,
        ),
    ),
    RouteSpec(
        method="GET",
        path="/v1/files",
        handler="list_files",
        summary="List files",
        about="Newest first. A user's key sees that user's files, a tenant's key all.",
        parameters=(
            query("after", "Id of the last file of the page before.", {"type": "string"}),
            query("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 10000}),
            query("order", "By time of creation.", {"type": "string", "enum": ["asc", "desc"]}),
            query(
                "purpose",
                "Only files for this.",
                {"type": "string", "enum": ["batch", "batch_output"]},
            ),
        ),
        good=(Good(200, "A page of files.", FileListBody),),
        errors=PAGE_ERRORS,
    ),
    RouteSpec(
        method="GET",
        path="/v1/files/{file_id}",
        handler="get_file",
        summary="Look at a file",
        about="What is known of a file; `/content` has the file itself.",
        parameters=(_FILE,),
        good=(Good(200, "The file.", FileBody),),
        errors=_ONE,
    ),
    RouteSpec(
        method="GET",
        path="/v1/files/{file_id}/content",
        handler="get_file_content",
        summary="Read a file",
        about="The file as it was sent, or as a batch has written it.",
        parameters=(_FILE,),
        good=(Good(200, "The content.", None, media_type="application/octet-stream"),),
        errors=(*_ONE, "blobs_unavailable"),
    ),
    RouteSpec(
        method="DELETE",
        path="/v1/files/{file_id}",
        handler="delete_file",
        summary="Delete a file",
        about=(
            "The content is deleted before this answers. The input of a batch stays until the "
            "batch is over."
        ),
        parameters=(_FILE,),
        good=(Good(200, "It is gone.", FileDeletedBody),),
        errors=(
            *_ONE,
            "file_in_use",
            "blobs_unavailable",
            "broker_busy",
            "acceptance_unknown",
        ),
    ),
)
