"""Breaks in accepting jobs and in the table that the API reads."""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID

from tests.promises.sabotage.patching import patch

__all__ = ["answer_before_ack", "no_rebuild", "random_job_ids"]


def answer_before_ack() -> None:
    """The record is on its way; that must do."""
    from gateway.writing import JobWriter  # noqa: PLC0415 - only if switched on

    async def hope(self: Any, record: Any, job: str) -> None:
        del job
        self._producer.send_soon(record, lambda _ack, _error: None)

    patch(JobWriter, "_send", hope)


def random_job_ids() -> None:
    """A key names nothing any more."""
    from penstock_contracts.ids import JobIds  # noqa: PLC0415 - only if switched on

    def fresh(self: Any, *, tenant: str, route: str, key: str) -> UUID:
        del self, tenant, route, key
        return UUID(bytes=os.urandom(16))

    patch(JobIds, "uuid_for_key", fresh)


def no_rebuild() -> None:
    """The epoch is set, the topics are not read."""
    from penstock_kit.jobs.rebuild import Rebuild, RebuildReport  # noqa: PLC0415 - only then

    async def nothing(self: Any, owner: str, on_progress: Any = None) -> RebuildReport:
        del on_progress
        if await self._epoch.claim(owner):
            await self._epoch.finish(owner)
        return RebuildReport(records=0, jobs=0, republished=0, seconds=0.0)

    patch(Rebuild, "run", nothing)
