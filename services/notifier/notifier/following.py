"""The jobs that one socket follows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from penstock_contracts.events import TERMINAL, Position
from penstock_contracts.snapshot import Snapshot
from penstock_kit.errors import PenstockError
from penstock_kit.streams.joining import Joined
from penstock_kit.tail.hub import Subscription
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.tenancy import TenantScope

from notifier import frames
from notifier.access import NoAccess
from notifier.close_codes import SLOW_CONSUMER

if TYPE_CHECKING:
    from notifier.desk import Desk
    from notifier.ports import Peer

__all__ = ["Following"]

_MAX_HELD: Final = 4096
"""Live events that may wait while a client reads what it missed."""


class _Followed:
    """One job: `held` keeps live events back while older ones are still being read."""

    __slots__ = ("held", "joined")

    def __init__(self) -> None:
        self.joined: Joined | None = None
        self.held: list[TailedEvent | Snapshot] | None = []

    def close(self) -> None:
        if self.joined is not None:
            self.joined.close()


class Following:
    """Subscriptions of one authenticated socket."""

    __slots__ = ("_all", "_desk", "_jobs", "_last", "_peer", "_scope")

    def __init__(self, scope: TenantScope, peer: Peer, desk: Desk) -> None:
        self._scope = scope
        self._peer = peer
        self._desk = desk
        self._jobs: dict[str, _Followed] = {}
        self._all: Subscription | None = None
        self._last: TailedEvent | None = None

    async def follow(self, job: str, after: Position | None) -> None:
        """Send what was missed, then what comes; a job that is followed already begins anew."""
        if job not in self._jobs and len(self._jobs) >= self._desk.limits.max_subscriptions:
            self._error(
                "too_many_subscriptions",
                f"a socket follows at most {self._desk.limits.max_subscriptions} jobs; unsubscribe"
                ' some, use {"all":true}, or open another socket',
                job=job,
            )
            return
        try:
            await self._desk.access.check_follow(self._scope, job)
        except NoAccess as error:
            self._error(error.code, str(error), job=job)
            return
        self._drop(job)
        followed = self._jobs[job] = _Followed()
        self._desk.metrics.subscriptions.inc()
        try:
            joined = await self._desk.streams.join(
                self._scope, job, after, partial(self._on_item, job, followed)
            )
        except BaseException:
            self._drop(job)
            raise
        followed.joined = joined
        if self._jobs.get(job) is not followed:
            joined.close()
            return
        await self._begin(job, followed, joined, was_recovering=after is not None)

    def follow_all(self) -> None:
        """Send the events of every job in the scope, from now on."""
        if self._all is None:
            self._all = self._desk.live.subscribe_scope(self._scope, self._on_any)
        self._peer.send(frames.subscribed_all_frame())

    def unfollow(self, job: str | None) -> None:
        """Send no more of a job; None: of "all". What is not followed is no error."""
        if job is not None:
            self._drop(job)
        elif self._all is not None:
            self._all.close()
            self._all = None
        self._peer.send(frames.unsubscribed_frame(job))

    async def cancel(self, job: str) -> None:
        """Write the cancel to the log and say so."""
        try:
            await self._desk.access.check_cancel(self._scope, job)
            await self._desk.canceller.cancel(self._scope, job)
        except NoAccess as error:
            self._error(error.code, str(error), job=job)
        except PenstockError:
            self._error(
                "unavailable",
                "the cancel could not be written to the log; send it again in a moment",
                job=job,
            )
        else:
            self._peer.send(frames.cancelling_frame(job))

    def stop_all(self) -> None:
        """Follow nothing any more; works twice."""
        if self._all is not None:
            self._all.close()
            self._all = None
        for job in tuple(self._jobs):
            self._drop(job)

    async def _begin(
        self, job: str, followed: _Followed, joined: Joined, *, was_recovering: bool
    ) -> None:
        send = self._peer.send
        send(
            frames.subscribed_frame(
                job,
                joined.position,
                recovered=joined.recovered,
                was_recovering=was_recovering,
            )
        )
        if joined.snapshot is not None:
            send(frames.snapshot_frame(joined.snapshot))
        waiting: list[TailedEvent | Snapshot] = [*joined.backlog]
        while waiting:
            for item in waiting:
                if self._peer.is_stalled:
                    await self._peer.caught_up()
                if self._jobs.get(job) is not followed:
                    return
                self._send_item(job, item)
            waiting, followed.held = followed.held or [], []
        followed.held = None
        if joined.is_over:
            self._drop(job)

    def _on_item(self, job: str, followed: _Followed, item: TailedEvent | Snapshot) -> None:
        held = followed.held
        if held is None:
            self._send_item(job, item)
        elif len(held) < _MAX_HELD:
            held.append(item)
        else:
            self._peer.close(SLOW_CONSUMER.code, SLOW_CONSUMER.reason)

    def _send_item(self, job: str, item: TailedEvent | Snapshot) -> None:
        if isinstance(item, TailedEvent):
            self._last = item
            self._peer.send(self._desk.events.frame(item))
            if item.type in TERMINAL:
                self._drop(job)
            return
        lost = frames.subscribed_frame(job, item.position, recovered=False, was_recovering=True)
        self._peer.send(lost)
        self._peer.send(frames.snapshot_frame(item))
        if item.status.is_terminal:
            self._drop(job)

    def _on_any(self, event: TailedEvent) -> None:
        # A job that is followed by itself comes from its own stream, its last event included.
        if event.job not in self._jobs and event is not self._last:
            self._peer.send(self._desk.events.frame(event))

    def _drop(self, job: str) -> None:
        followed = self._jobs.pop(job, None)
        if followed is not None:
            self._desk.metrics.subscriptions.dec()
            followed.close()

    def _error(self, code: str, message: str, *, job: str) -> None:
        self._desk.metrics.errors.labels(code).inc()
        self._peer.send(frames.error_frame(code, message, job=job))
