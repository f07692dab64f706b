"""Errors of files and batches."""

from __future__ import annotations

from typing import Final

from gateway.error_kinds.kind import INVALID, ErrorKind, wrong_body

__all__ = ["OF_FILES"]

OF_FILES: Final = (
    wrong_body(
        "malformed_form",
        "The form cannot be read",
        "Send multipart/form-data with the fields `purpose` and `file`.",
    ),
    wrong_body(
        "upload_cut",
        "The upload ended before its form did",
        "Nothing is kept. Send the file again.",
    ),
    ErrorKind(
        "upload_stalled",
        408,
        INVALID,
        "The upload did not come in time",
        "Nothing is kept. Send the file again, over a line that carries 16 KiB a second.",
        should_retry=True,
    ),
    ErrorKind(
        "file_not_found",
        404,
        INVALID,
        "No such file",
        "Check the id. Files of other users, deleted and expired files are not found.",
    ),
    ErrorKind(
        "file_in_use",
        409,
        INVALID,
        "A batch that is not over reads the file",
        "Nothing was deleted. Wait for the end of the batch that the message names, or cancel it.",
    ),
    ErrorKind(
        "batch_not_found",
        404,
        INVALID,
        "No such batch",
        "Check the id. Batches of other users and beyond the retention time are not found.",
    ),
    ErrorKind(
        "batch_is_over",
        409,
        INVALID,
        "The batch has ended and cannot be cancelled",
        "Look at the batch: its files hold what its lines brought.",
    ),
)
