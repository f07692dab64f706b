"""A job whose caller waits: for its end or its events; and what leaving means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson
from penstock_kit.auth.principal import Principal
from penstock_kit.tenancy import TenantScope

from gateway.cancel import Canceller
from gateway.errors import ApiError, answered_with
from gateway.http import ClientGoneError, Receive, until_gone
from gateway.mailbox import Closing
from gateway.openai.asking import Ask
from gateway.openai.ending import Ending, Endings, ending_of_snapshot
from gateway.openai.feed import Feed, SnapshotItem, is_end
from gateway.ports import StreamEvent
from gateway.standing import LapseOf, Standing, lapsed
from gateway.submit import Accepted

__all__ = ["Running", "RunningLimits", "closed", "job_headers"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLimits:
    """How long to wait, and what becomes of a job whose caller has left.

    Attributes:
        heartbeat: between two signs of life on a silent stream.
        answer_within: longest wait for the end of a job.
        cancels_left_jobs: whether a job without an Idempotency-Key ends when its caller leaves.
    """

    heartbeat: timedelta
    answer_within: timedelta
    cancels_left_jobs: bool


class Running:
    """One accepted job with its stream. `close` must be called; it works twice.

    Attributes:
        created_at: when the job was accepted first; a replay tells the same.
        model: as asked; a replay tells the one that answered.
        has_key: whether the caller can come back to it by its Idempotency-Key.
    """

    def __init__(
        self,
        *,
        ask: Ask,
        accepted: Accepted,
        object_id: str,
        created_at: datetime,
        model: str | None,
        principal: Principal,
        has_key: bool,
        feed: Feed,
        endings: Endings,
        canceller: Canceller,
        lapse_of: LapseOf,
        limits: RunningLimits,
        on_close: Callable[[Running], None],
    ) -> None:
        self.ask = ask
        self.accepted = accepted
        self.object_id = object_id
        self.created_at = created_at
        self.model = model
        self.principal = principal
        self.has_key = has_key
        self._feed = feed
        self._endings = endings
        self._canceller = canceller
        self._limits = limits
        self._standing = Standing(principal, lapse_of, every_s=self.heartbeat_s)
        self._on_close = on_close
        self._is_over = False

    @property
    def job(self) -> str:
        """The job's id."""
        return self.accepted.job

    @property
    def heartbeat_s(self) -> float:
        """Longest silence towards the caller."""
        return self._limits.heartbeat.total_seconds()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer about the job carries: its id, and how the caller's limits stand."""
        told = job_headers(self.accepted)
        return [(name.encode(), value.encode()) for name, value in told.items()]

    def names_its_errors(self) -> AbstractContextManager[None]:
        """Errors raised inside carry the same headers as any other answer about the job."""
        return answered_with(job_headers(self.accepted))

    @contextmanager
    def answering(self) -> Iterator[None]:
        """For making a whole answer: errors name the job, and its stream is left in the end."""
        try:
            with self.names_its_errors():
                yield
        finally:
            self.close()

    async def take(self, timeout_s: float) -> list[StreamEvent | SnapshotItem]:
        """What has happened to the job, in order; nothing after the time-out.

        Raises:
            Closing: the process drains, or the caller's credential has ended.
        """
        self._standing.check()
        items = await self._feed.take(timeout_s)
        if items and is_end(items[-1]):
            self._is_over = True
        return items

    async def ended(self, receive: Receive) -> Ending:
        """How the job ended.

        Raises:
            ApiError: still_running or gateway_draining, the job goes on; or the output is not to be
                had.
            ClientGoneError: the caller has left; the job was called back if that is the rule.
        """
        return await self.unless_gone(receive, self._ended())

    async def unless_gone(self, receive: Receive, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait, unless the caller leaves before.

        Raises:
            ClientGoneError: the caller has left; the job was called back if that is the rule.
        """
        work = asyncio.create_task(waiting, name=f"wait {self.job}")
        leaving = asyncio.create_task(until_gone(receive), name=f"watch {self.job}")
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.left()
                raise ClientGoneError
            return work.result()
        finally:
            for task in (work, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    def left(self) -> None:
        """The caller has hung up: call the job back, unless it may come for the answer again."""
        may_end = self._limits.cancels_left_jobs and not self.ask.is_kept
        if may_end and not self.has_key and not self._is_over:
            self._canceller.cancel_soon(self.principal, self.job)

    async def ending_of(self, item: StreamEvent | SnapshotItem) -> Ending:
        """What a terminal event or snapshot tells."""
        value = (
            ending_of_snapshot(item.snapshot)
            if isinstance(item, SnapshotItem)
            else orjson.loads(item.value)
        )
        return await self._endings.read(TenantScope(self.principal.tenant), value)

    def let_go(self) -> None:
        """The process is about to end: whoever waits gets an answer that says so."""
        self._feed.stop("drain")

    def close(self) -> None:
        """Leave the job's stream."""
        self._feed.close()
        self._on_close(self)

    async def _ended(self) -> Ending:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.answer_within.total_seconds()
        try:
            while (left_s := until - loop.time()) > 0:
                items = await self.take(min(left_s, self.heartbeat_s))
                if items and is_end(items[-1]):
                    return await self.ending_of(items[-1])
        except Closing as closing:
            raise closed(closing.reason, self.job) from None
        message = (
            f"the job {self.job} has not ended in time; it runs on: look at /v1/jobs/{self.job}, "
            "or send the request again with its Idempotency-Key"
        )
        raise ApiError("still_running", message, members={"job": self.job})


def job_headers(accepted: Accepted) -> dict[str, str]:
    """What every answer about an accepted job carries, errors too."""
    headers = {"x-penstock-job": accepted.job}
    if accepted.is_replay:
        headers["idempotent-replayed"] = "true"
    return headers | accepted.headers


def closed(reason: str, job: str) -> ApiError:
    """The answer to a caller that is sent away before its job has ended."""
    if reason != "drain":
        return lapsed(reason)
    message = (
        f"this gateway is being stopped; the job {job} runs on: look at /v1/jobs/{job}, or send "
        "the request again with its Idempotency-Key"
    )
    return ApiError("gateway_draining", message, retry_after_s=1.0, members={"job": job})
