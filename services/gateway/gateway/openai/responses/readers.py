"""Readers of responses that were asked for earlier: at their stream, or waiting for their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta

import orjson
from penstock_kit.auth.principal import Principal
from penstock_kit.tenancy import TenantScope

from gateway.openai.ending import Ending, Endings, ending_of_snapshot
from gateway.openai.feed import Feed, FeedLimits, SnapshotItem, is_end
from gateway.ports import StreamEvent, Streams
from gateway.standing import LapseOf, Standing

__all__ = ["Reader", "Readers"]


class Reader:
    """One reader of one response. `close` must be called; it works twice."""

    def __init__(
        self,
        feed: Feed,
        principal: Principal,
        *,
        endings: Endings,
        lapse_of: LapseOf,
        heartbeat_s: float,
        on_close: Callable[[Reader], None],
    ) -> None:
        self._feed = feed
        self._principal = principal
        self._endings = endings
        self._heartbeat_s = heartbeat_s
        self._standing = Standing(principal, lapse_of, every_s=heartbeat_s)
        self._on_close = on_close

    @property
    def heartbeat_s(self) -> float:
        """Longest silence towards the caller."""
        return self._heartbeat_s

    async def take(self, timeout_s: float) -> list[StreamEvent | SnapshotItem]:
        """See `Source.take`."""
        self._standing.check()
        return await self._feed.take(timeout_s)

    async def ending_of(self, item: StreamEvent | SnapshotItem) -> Ending:
        """See `Source.ending_of`."""
        value = (
            ending_of_snapshot(item.snapshot)
            if isinstance(item, SnapshotItem)
            else orjson.loads(item.value)
        )
        return await self._endings.read(TenantScope(self._principal.tenant), value)

    async def ends_within(self, patience: timedelta) -> bool:
        """Whether the job is over in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience.total_seconds()
        while (left_s := until - loop.time()) > 0:
            items = await self.take(left_s)
            if items and is_end(items[-1]):
                return True
        return False

    def let_go(self) -> None:
        """The process is about to end."""
        self._feed.stop("drain")

    def close(self) -> None:
        """Leave the job's stream."""
        self._feed.close()
        self._on_close(self)


class Readers:
    """All of them; they are let go when the process drains."""

    def __init__(
        self,
        streams: Streams,
        *,
        endings: Endings,
        lapse_of: LapseOf,
        limits: FeedLimits,
        heartbeat: timedelta,
    ) -> None:
        self._streams = streams
        self._endings = endings
        self._lapse_of = lapse_of
        self._limits = limits
        self._heartbeat_s = heartbeat.total_seconds()
        self._open: set[Reader] = set()
        self._is_draining = False

    async def at_stream(self, principal: Principal, job: str) -> Reader:
        """A reader of everything from the begin on."""
        feed = self._feed(principal, job, with_deltas=True)
        return await self._begun(principal, feed, feed.join_whole())

    async def at_end(self, principal: Principal, job: str) -> Reader:
        """A reader who is told of the end alone."""
        feed = self._feed(principal, job, with_deltas=False)
        return await self._begun(principal, feed, feed.join(None))

    def drain(self) -> None:
        """Let everybody go, later ones too."""
        self._is_draining = True
        for reader in tuple(self._open):
            reader.let_go()

    async def _begun(
        self, principal: Principal, feed: Feed, joining: Coroutine[None, None, None]
    ) -> Reader:
        try:
            await joining
        except BaseException:
            feed.close()
            raise
        reader = Reader(
            feed,
            principal,
            endings=self._endings,
            lapse_of=self._lapse_of,
            heartbeat_s=self._heartbeat_s,
            on_close=self._open.discard,
        )
        self._open.add(reader)
        if self._is_draining:
            reader.let_go()
        return reader

    def _feed(self, principal: Principal, job: str, *, with_deltas: bool) -> Feed:
        # Visibility was checked; events of direct producers may carry no user: the tenant reads.
        scope = TenantScope(principal.tenant)
        return Feed(self._streams, scope, job, limits=self._limits, with_deltas=with_deltas)
