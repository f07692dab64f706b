"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self

import httpx2
from penstock_contracts.events import JobStatus, Position
from penstock_contracts.parts import Output
from penstock_contracts.requests import Charge, Params, Priority

from penstock.client.errors import NotCompleted, Unreachable
from penstock.client.models import Job, JobPage, StreamEvent
from penstock.client.sockets import socket_events, socket_url
from penstock.client.transcript import START
from penstock.client.wire import (
    Backoff,
    Call,
    ends_job,
    event_of,
    list_call,
    output_of,
    parse,
    raise_for_error,
    resume_params,
    submit_call,
    why_ended,
)

__all__ = ["AsyncClient"]

_SILENCE_S = 45.0
"""A stream that sends nothing for so long, not even a heartbeat (15 s), is broken."""


class AsyncClient:
    """Talks to one gateway (and its notifier) with one credential. Use it as a context manager.

    `notifier` is the notifier's address, `ws://host:port` or the whole one of its socket; without
    it a job's own `links.socket` is used.
    """

    def __init__(
        self,
        gateway: str,
        api_key: str,
        *,
        notifier: str | None = None,
        timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        self._api_key = api_key
        self._socket_url = socket_url(notifier) if notifier is not None else None
        self._timeout_s = timeout.total_seconds()
        self._http = httpx2.AsyncClient(
            base_url=gateway,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=self._timeout_s,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def submit(
        self,
        task: str,
        input: Mapping[str, Any] | str,  # noqa: A002 - the name that the API has
        *,
        model: str | None = None,
        params: Params | Mapping[str, Any] | None = None,
        priority: Priority | str | None = None,
        conversation: str | None = None,
        deadline: timedelta | None = None,
        cancel_after: timedelta | None = None,
        charge: Charge | str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        wait: timedelta | None = None,
    ) -> Job:
        """Hand a job in; it is in the log when this returns.

        A job that has not begun within `deadline` expires; one that is not over within
        `cancel_after` is cancelled. With `wait` the gateway holds the answer so long for the
        result. The same `idempotency_key` with the same arguments is the same job, however often
        it is sent.

        Raises:
            ApiError: the request was refused.
            Unreachable: no answer; with an `idempotency_key` it is safe to try again.
        """
        call = submit_call(
            task,
            input,
            model=model,
            params=params,
            priority=priority,
            conversation=conversation,
            deadline=deadline,
            cancel_after=cancel_after,
            charge=charge,
            metadata=metadata,
            idempotency_key=idempotency_key,
            wait=wait,
        )
        return parse(Job, await self._send(call, extra_s=wait.total_seconds() if wait else 0))

    async def get(self, job: str) -> Job:
        """What is known of the job now."""
        return parse(Job, await self._send(Call("GET", f"/v1/jobs/{job}")))

    async def result(self, job: str, *, timeout: timedelta | None = None) -> Output:
        """The job's output, once it is there.

        Raises:
            JobEnded: it failed, was cancelled, expired, or nobody knows how it ended.
            TimeoutError: it did not end within `timeout`.
        """
        async with asyncio.timeout(timeout.total_seconds() if timeout is not None else None):
            return await self._result(job)

    async def cancel(self, job: str) -> Job:
        """Ask for the end of the job; one that is over already is returned as it is."""
        return parse(Job, await self._send(Call("POST", f"/v1/jobs/{job}/cancel")))

    async def list(
        self,
        *,
        status: JobStatus | str | None = None,
        task: str | None = None,
        user: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> JobPage:
        """One page of jobs, newest first; `after` is the `next_cursor` of the last page."""
        call = list_call(status=status, task=task, user=user, after=after, limit=limit)
        return parse(JobPage, await self._send(call))

    async def events(
        self,
        job: str,
        *,
        after: Position | None = None,
        over: Literal["sse", "socket"] = "sse",
    ) -> AsyncGenerator[StreamEvent]:
        """What happens to the job after a place, until its end; each step once, in order.

        A broken connection is opened again where it broke. Where steps are no longer kept, one
        `Snapshot` stands for them.

        Raises:
            NotFound: there is no such job for this credential.
            Unreachable: the connection broke too often in a row.
        """
        position, backoff = after or START, Backoff()
        while True:
            cause: Exception | None = None
            try:
                async with aclosing(self._stream(job, position, over)) as stream:
                    async for event in stream:
                        backoff.succeed()
                        if event.position > position or ends_job(event):
                            position = max(position, event.position)
                            yield event
                        if ends_job(event):
                            return
            except (Unreachable, httpx2.TransportError) as error:
                cause = error
            if (cause is None) and (await self.get(job)).status.is_terminal:
                return  # the place that the caller named was the last one
            await asyncio.sleep(backoff.next_pause_s(cause))

    async def follow(self) -> AsyncGenerator[StreamEvent]:
        """Events of all jobs that the credential may see, from now on, over the notifier's socket.

        A broken connection is opened again, but what happened meanwhile is missed: where every
        step counts, follow single jobs with `events`.

        Raises:
            Unreachable: the notifier's address is not known, or the connection broke too often.
        """
        if self._socket_url is None:
            raise Unreachable("the notifier's address is not known; give notifier")
        backoff = Backoff()
        while True:
            cause: Exception | None = None
            try:
                stream = socket_events(self._socket_url, api_key=self._api_key)
                async with aclosing(stream) as events:
                    async for event in events:
                        backoff.succeed()
                        yield event
            except Unreachable as error:
                cause = error
            await asyncio.sleep(backoff.next_pause_s(cause))

    async def _result(self, job: str) -> Output:
        while True:
            current = await self.get(job)
            if current.status is JobStatus.COMPLETED:
                try:
                    return output_of(await self._send(Call("GET", f"/v1/jobs/{job}/result")))
                except NotCompleted:
                    await asyncio.sleep(_RECORDING_S)
            elif current.status.is_terminal:
                raise why_ended(current)
            else:
                async with aclosing(self.events(job)) as events:
                    async for _ in events:
                        pass

    def _stream(
        self, job: str, after: Position, over: Literal["sse", "socket"]
    ) -> AsyncGenerator[StreamEvent]:
        return self._sse(job, after) if over == "sse" else self._socket(job, after)

    async def _sse(self, job: str, after: Position) -> AsyncGenerator[StreamEvent]:
        timeout = httpx2.Timeout(30.0, read=_SILENCE_S)
        async with self._http.stream(
            "GET",
            f"/v1/jobs/{job}/events",
            params=resume_params(after),
            headers={"Accept": "text/event-stream"},
            timeout=timeout,
        ) as response:
            if not response.is_success:
                await response.aread()
                raise_for_error(response)
            async for message in httpx2.EventSource(response):
                event = event_of(message.data) if message.data else None
                if event is not None:
                    yield event

    async def _socket(self, job: str, after: Position) -> AsyncGenerator[StreamEvent]:
        url = self._socket_url or (await self.get(job)).links.socket
        if url is None:
            raise Unreachable(
                "the notifier's address is not known; give notifier, "
                "or set PENSTOCK_GATEWAY__SOCKET_URL"
            )
        async with aclosing(
            socket_events(url, api_key=self._api_key, job=job, after=after)
        ) as events:
            async for event in events:
                yield event

    async def _send(self, call: Call, *, extra_s: float = 0) -> httpx2.Response:
        try:
            return await self._http.request(
                call.method,
                call.path,
                json=call.json,
                params=call.params,
                headers=call.headers,
                timeout=httpx2.Timeout(self._timeout_s, read=self._timeout_s + extra_s),
            )
        except httpx2.TransportError as error:
            raise Unreachable(
                f"no answer from {self._http.base_url}: {str(error) or type(error).__name__}; "
                "check the address, and that the stack is up (`penstock status`)"
            ) from error


_RECORDING_S = 0.05
"""Pause while a result is stored that the events have announced already."""
