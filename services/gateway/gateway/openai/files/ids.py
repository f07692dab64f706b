"""Ids of files and batches: shaped like a job's, so that they prove their tenant by themselves."""

from __future__ import annotations

from typing import Final

from penstock_contracts.ids import JobIds

__all__ = ["BATCH_PREFIX", "FILE_PREFIX", "issued", "job_form"]

FILE_PREFIX: Final = "file-"
BATCH_PREFIX: Final = "batch_"


def job_form(prefix: str, text: str) -> str:
    """The id as a job's would be written."""
    return "job_" + text.removeprefix(prefix)


def issued(ids: JobIds, prefix: str, text: str, *, tenant: str) -> bool:
    """Whether a gateway of this deployment gave out the id, for this tenant."""
    return text.startswith(prefix) and ids.was_issued(job_form(prefix, text), tenant=tenant)
