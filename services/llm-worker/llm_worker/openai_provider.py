"""Any OpenAI-compatible endpoint through the `openai` SDK's aiohttp client (docs/adr tells why)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import aiohttp
import httpx2
import openai
import orjson

from llm_worker.chunks import ChunkReader
from llm_worker.errors import Permanent, ProviderFault, Transient
from llm_worker.ports import Batch, Call, Sink
from llm_worker.provider_body import ProviderBody
from llm_worker.provider_status import fault_of_status
from llm_worker.providers_file import ProviderEntry
from llm_worker.slots import Slots

__all__ = ["OpenAIProvider"]

_MAX_ERROR_BYTES = 64 * 1024
"""More of an error's body is not read: it may be endless."""
_MAX_ANSWER_BYTES = 4096
"""So much of it is kept for the operator."""
_AFTER_DONE_S = 0.1
"""How long the end of the body may lag behind `[DONE]`; then the connection is closed."""
_AFTER_FINISH_S = 3.0
"""How long usage and `[DONE]` may lag behind the last finish reason; some servers send neither."""
_MAX_ERROR_S = 5.0
"""How long the body of an error may take."""


@dataclass(slots=True)
class _Deadlines:
    """The three deadlines of one call as one time-out that is moved. Loop times."""

    timeout: asyncio.Timeout
    idle_s: float
    total_at: float
    phase: str = "first_token"

    def saw_piece(self, now: float) -> None:
        """A piece arrived: the idle deadline counts from here."""
        when = min(now + self.idle_s, self.total_at)
        # Moving it costs more than comparing; a tenth of the deadline is near enough.
        if self.phase == "first_token" or when - (self.timeout.when() or 0) > self.idle_s / 10:
            self.timeout.reschedule(when)
            self.phase = "total" if when == self.total_at else "idle"

    def saw_finish(self, now: float) -> None:
        """All choices are finished; usage and `[DONE]` may follow, or nothing."""
        if self.phase != "finished":
            self.phase = "finished"
            self.timeout.reschedule(min(now + _AFTER_FINISH_S, self.total_at))

    def saw_done(self, now: float) -> None:
        """The answer is complete; only the end of the body is missing."""
        self.timeout.reschedule(now + _AFTER_DONE_S)


_OVERLOADED = frozenset({429, 503, 529})


class _FirstSeen:
    """A sink that tells of the first batch, for the time that an answer takes to begin."""

    __slots__ = ("_on_first", "_sink")

    def __init__(self, sink: Sink, on_first: Callable[[], None]) -> None:
        self._sink = sink
        self._on_first: Callable[[], None] | None = on_first

    def __call__(self, batch: Batch) -> float:
        if self._on_first is not None:
            self._on_first()
            self._on_first = None
        return self._sink(batch)


class OpenAIProvider:
    """A provider from `providers.yaml`. SDK retries are off: the attempt loop owns them.

    Redirects are not followed: a provider that redirects would get the key sent elsewhere.
    """

    def __init__(self, name: str, entry: ProviderEntry) -> None:
        self.name = name
        self._entry = entry
        self._slots = Slots(entry.max_concurrency)
        self._http = openai.DefaultAioHttpClient(
            limits=httpx2.Limits(
                max_connections=None, max_keepalive_connections=entry.max_concurrency
            ),
            timeout=httpx2.Timeout(None, connect=entry.connect_timeout.total_seconds()),
            follow_redirects=False,
            event_hooks={"response": [self._check_status]},
        )
        self._client = openai.AsyncOpenAI(
            api_key=entry.api_key.get_secret_value() if entry.api_key else "none",
            base_url=str(entry.base_url),
            max_retries=0,
            http_client=self._http,
            default_headers={"Accept-Encoding": "identity"},
        )
        self._url = httpx2.URL(f"{self._client.base_url}chat/completions")
        self._headers = _sent_always(self._client, entry)

    async def close(self) -> None:
        """Close all connections; works twice."""
        await self._client.close()

    async def run(self, call: Call, sink: Sink, *, on_sent: Callable[[], None]) -> None:
        """Run a call; see the port."""
        entry = self._entry
        reader = ChunkReader(
            self.name,
            choices=int(call.options.get("n") or 1),
            max_bytes=entry.max_response_bytes,
            max_pieces=entry.max_response_tokens,
        )
        loop = asyncio.get_running_loop()
        async with self._slots.place():
            on_sent()
            now = loop.time()
            total_at = now + min(call.timeout_s, entry.total_timeout.total_seconds())
            first_at = min(now + entry.first_token_timeout.total_seconds(), total_at)
            timeout = asyncio.timeout_at(first_at)
            deadlines = _Deadlines(timeout, entry.idle_timeout.total_seconds(), total_at)

            def on_first() -> None:
                self._slots.answered(loop.time() - now)

            try:
                async with timeout:
                    await self._read(call, reader, deadlines, _FirstSeen(sink, on_first))
            except TimeoutError as error:
                if not (reader.is_done or reader.is_settled):
                    raise self._too_slow(deadlines.phase) from error
            except Transient as error:
                if error.status in _OVERLOADED:
                    self._slots.refused()
                raise
        if not reader.is_complete:
            raise Transient(
                f"provider {self.name!r} ended the stream before the answer was complete; "
                "the job is tried again",
                code="provider_stream_cut",
                was_charged=True,
            )

    async def _read(
        self, call: Call, reader: ChunkReader, deadlines: _Deadlines, sink: Sink
    ) -> None:
        loop = asyncio.get_running_loop()
        response = await self._open(call)
        try:
            body = ProviderBody(response)
            while data := await body.read():
                due = _handed_on(reader, partial(reader.feed, data), sink)
                if reader.is_done:
                    deadlines.saw_done(loop.time())
                elif reader.is_closing:
                    deadlines.saw_finish(loop.time())
                elif reader.batch:
                    now = loop.time()
                    deadlines.saw_piece(now)
                    await body.rest(until=min(due, now + deadlines.idle_s / 2))
            _handed_on(reader, reader.end, sink)
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            if reader.is_complete:
                return
            raise Transient(
                f"the connection to provider {self.name!r} broke in the middle of the answer; "
                "the job is tried again",
                code="provider_stream_cut",
                was_charged=True,
            ) from error
        finally:
            with suppress(httpx2.HTTPError, aiohttp.ClientError, OSError):
                await response.aclose()

    async def _open(self, call: Call) -> httpx2.Response:
        # The SDK's `post` takes 0.6 ms to build the same request from models and options.
        request = self._http.build_request(
            "POST",
            self._url,
            headers={**self._headers, **_headers(call)},
            content=orjson.dumps(self._body(call)),
        )
        try:
            return await self._http.send(request, stream=True)
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    def _body(self, call: Call) -> dict[str, Any]:
        options = dict(call.options)
        limit = options.pop("max_tokens", None)
        if limit is not None:
            options[self._entry.max_tokens_field] = limit
        return {
            "model": call.model,
            "messages": list(call.messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **options,
        }

    async def _check_status(self, response: httpx2.Response) -> None:
        """Raise for anything but 200, before the SDK would read an error's body without bounds."""
        status = response.status_code
        if status == httpx2.codes.OK:
            return
        body = bytearray()
        with suppress(TimeoutError, httpx2.HTTPError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(_MAX_ERROR_S):
                async for data in response.aiter_raw():
                    body += data
                    if len(body) > _MAX_ERROR_BYTES:
                        break
        fault = fault_of_status(self.name, status, response.headers, _error_object(bytes(body)))
        fault.answer = bytes(body[:_MAX_ANSWER_BYTES]).decode(errors="replace")
        raise fault

    def _unreachable(self, error: Exception) -> ProviderFault:
        cause = error.__cause__ or error  # httpx2's errors stand for aiohttp's
        # Without a connection nothing was sent; any later break may have been charged.
        never_sent = isinstance(
            cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError
        )
        return Transient(
            f"provider {self.name!r} cannot be reached ({type(cause).__name__}); "
            "check its base_url and that it runs",
            code="provider_unreachable",
            was_charged=not never_sent,
        )

    def _too_slow(self, phase: str) -> ProviderFault:
        entry = self._entry
        limits: dict[str, tuple[str, timedelta]] = {
            "first_token": ("sent no output in time", entry.first_token_timeout),
            "idle": ("fell silent in the middle of its answer", entry.idle_timeout),
            "total": ("did not finish its answer in time", entry.total_timeout),
        }
        what, limit = limits[phase]
        # A call that used up its whole time would do so again, and cost as much again.
        family = Permanent if phase == "total" else Transient
        return family(
            f"provider {self.name!r} {what} ({phase}_timeout, at most "
            f"{limit.total_seconds():g} s); the connection was closed",
            code=f"provider_{phase}_timeout",
            kind="timeout_error",
            was_charged=True,
        )


def _handed_on(reader: ChunkReader, read: Callable[[], Batch], sink: Sink) -> float:
    """Read, and hand on what came before a fault, too; until when more may gather."""
    due = 0.0
    try:
        read()
    finally:
        if reader.batch:
            due = sink(reader.batch)
    return due


def _sent_always(client: openai.AsyncOpenAI, entry: ProviderEntry) -> dict[str, str]:
    """The SDK's own headers; an endpoint without keys gets no Authorization header at all."""
    headers = {name: text for name, text in client.default_headers.items() if isinstance(text, str)}
    if entry.api_key is not None:
        headers["Authorization"] = f"Bearer {entry.api_key.get_secret_value()}"
    return headers


def _headers(call: Call) -> dict[str, str]:
    headers = {"x-penstock-job": call.job, "x-penstock-attempt": str(call.attempt)}
    if call.traceparent is not None:
        headers["traceparent"] = call.traceparent
    return headers


def _error_object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
        error = answer.get("error", answer)  # older vLLM has no such member: the body is the error
    except (orjson.JSONDecodeError, AttributeError):
        return {}
    return error if isinstance(error, dict) else {}
