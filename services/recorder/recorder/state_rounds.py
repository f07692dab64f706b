"""What the state topic must learn, in rounds: what changes several times in one counts once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from penstock_kit.errors import Fatal
from penstock_kit.jobs.fold import Changed
from penstock_kit.jobs.patches import JobPatch
from penstock_kit.jobs.publishing import StatePublisher
from penstock_kit.jobs.request_records import tells_of_request

from recorder.metrics import RecorderMetrics

__all__ = ["StateRounds"]

log = structlog.get_logger(__name__)

_GATHER_S = 0.25
"""From a round's first change to its writing: jobs of a moment are queued, run and end in one.

Offsets are committed behind it, so that much more is read again after a crash, and nothing is lost.
"""


class StateRounds:
    """Gathers for a moment, then publishes the newest version of each job.

    Requests that are to be kept or forgotten do not wait: another recorder may hold the deletion.
    """

    def __init__(
        self,
        publisher: StatePublisher,
        *,
        metrics: RecorderMetrics,
        on_fatal: Callable[[Fatal], None],
        gather_s: float = _GATHER_S,
    ) -> None:
        self._publisher = publisher
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._gather_s = gather_s
        self._changed: dict[tuple[str, str], Changed] = {}
        self._keeping: list[asyncio.Task[int]] = []
        self._round: asyncio.Task[None] | None = None

    def add(self, changed: Sequence[Changed], patches: Sequence[JobPatch]) -> asyncio.Task[None]:
        """A task that ends when the state topic has these, in their newest version or a newer one.

        It is shared by all who came in the same round, and fails when nothing more can be written.
        """
        for change in changed:
            known = self._changed.get((change.tenant, change.job))
            # Lower versions come from a table that was emptied meanwhile, and know less.
            if known is None or change.version >= known.version:
                self._changed[change.tenant, change.job] = change
        requests = list(filter(tells_of_request, patches))
        if requests:
            keeping = self._publisher.keep_requests(requests)
            self._keeping.append(asyncio.create_task(keeping, name="keep requests"))
        if self._round is None:
            self._round = asyncio.create_task(self._publish_soon(), name="publish states")
        return self._round

    async def _publish_soon(self) -> None:
        await asyncio.sleep(self._gather_s)
        changed, keeping = list(self._changed.values()), self._keeping
        self._changed, self._keeping, self._round = {}, [], None
        try:
            self._metrics.published.inc(sum(await asyncio.gather(*keeping)))
            self._metrics.published.inc(await self._publisher.publish(changed))
        except Fatal as error:
            self._on_fatal(error)
            raise
        except Exception as error:
            log.exception("publish.failed")
            self._on_fatal(
                Fatal(f"a state cannot be published ({type(error).__name__}); see the log")
            )
            raise
