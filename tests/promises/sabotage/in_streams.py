"""Breaks in what clients hear of a running job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.promises.sabotage.patching import patch

__all__ = ["drop_delta", "reuse_seq", "silent_gap"]

_EVERY = 5


def reuse_seq() -> None:
    """The second delta of each attempt has the place of the first."""
    from penstock_kit.jobs.emitter import JobEmitter  # noqa: PLC0415 - only if switched on

    delta = JobEmitter.delta

    def again(self: Any, deltas: Any) -> None:
        before = self._seq
        delta(self, deltas)
        if before == 1:
            self._seq = before

    patch(JobEmitter, "delta", again)


def drop_delta() -> None:
    """One in five never happens."""
    from penstock_kit.jobs.emitter import JobEmitter  # noqa: PLC0415 - only if switched on

    delta = JobEmitter.delta
    count = 0

    def sometimes(self: Any, deltas: Any) -> None:
        nonlocal count
        count += 1
        if count % _EVERY:
            delta(self, deltas)

    patch(JobEmitter, "delta", sometimes)


def silent_gap() -> None:
    """A resumed stream begins with the next live event, and says that all is well."""
    from penstock_kit.streams.joining import JobStreams  # noqa: PLC0415 - only if switched on

    join = JobStreams.join

    async def forgetful(self: Any, scope: Any, job: str, after: Any, sink: Any) -> Any:
        joined = await join(self, scope, job, after, sink)
        if after is None:
            return joined
        last = [event for event in joined.backlog if event.type != "delta"]
        return replace(joined, recovered=True, snapshot=None, backlog=last)

    patch(JobStreams, "join", forgetful)
