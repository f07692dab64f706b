"""Whether an event may be about a job of its tenant, as far as the id tells."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from penstock_contracts.ids import JobIds, is_job_id

__all__ = ["may_belong"]

_DERIVED_CHARS: Final = len("job_") + 32
"""Ids of this length follow from an event and carry no MAC; a forged tenant only reaches its own
part of the table."""


@lru_cache(maxsize=4096)
def may_belong(ids: JobIds, job: str, tenant: str) -> bool:
    """Whether the id has the form of one and, if a gateway issued it, was issued for this tenant.

    The MAC is checked once per job, not once per event.
    """
    return is_job_id(job) and (len(job) <= _DERIVED_CHARS or ids.was_issued(job, tenant=tenant))
