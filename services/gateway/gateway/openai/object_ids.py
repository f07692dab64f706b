"""Ids of OpenAI objects: a job's id with another prefix, so that nothing has to be looked up."""

from __future__ import annotations

from typing import Final

from penstock_contracts.ids import is_job_id

__all__ = ["CHAT_PREFIX", "COMPLETION_PREFIX", "RESPONSE_PREFIX", "job_of", "object_id"]

CHAT_PREFIX: Final = "chatcmpl-"
COMPLETION_PREFIX: Final = "cmpl-"
RESPONSE_PREFIX: Final = "resp_"

_JOB_PREFIX: Final = "job_"


def object_id(prefix: str, job: str) -> str:
    """The id under which callers of the OpenAI API know a job."""
    return prefix + job[len(_JOB_PREFIX) :]


def job_of(prefix: str, text: str) -> str | None:
    """The job behind an object's id; None if the text has not the form of such an id."""
    if not text.startswith(prefix):
        return None
    job = _JOB_PREFIX + text[len(prefix) :]
    return job if is_job_id(job) else None
