"""HTTP in: responses are asked for, fetched, followed, called back and deleted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

from penstock_kit.jobs.folding import once_folded
from starlette.requests import Request

from gateway.cancel import Canceller
from gateway.errors import ApiError
from gateway.http import POLL_AFTER, Answer, StreamAnswer, list_header
from gateway.mailbox import Closing
from gateway.openai.asking import Ask
from gateway.openai.ending import Ending
from gateway.openai.feed import is_end
from gateway.openai.responses.asked import ResponseAsk, ResponseAsks
from gateway.openai.responses.deleting import Deleter
from gateway.openai.responses.events import ResponseEvents, outcome_of
from gateway.openai.responses.input_items import input_items, item_page, item_query
from gateway.openai.responses.lookup import Found, ResponseLookup
from gateway.openai.responses.objects import (
    Outcome,
    ResponseFacts,
    output_of_choice,
    response_object,
)
from gateway.openai.responses.parameters import asked_number, asks_for_stream
from gateway.openai.responses.readers import Readers
from gateway.openai.responses.results import first_choice
from gateway.openai.responses.streams import ResponseStreams
from gateway.openai.running import Came, Runner
from gateway.openai.under_way import Running
from gateway.waiting import Preference, read_preference

__all__ = ["ResponseEndpoints"]

_CANCEL_PATIENCE: Final = timedelta(seconds=5)
"""A worker ends a job within moments of being told; then the answer can say `cancelled`."""


class ResponseEndpoints:
    """`/v1/responses`."""

    def __init__(
        self,
        *,
        runner: Runner,
        asks: ResponseAsks,
        lookup: ResponseLookup,
        readers: Readers,
        streams: ResponseStreams,
        canceller: Canceller,
        deleter: Deleter,
        max_wait: timedelta,
    ) -> None:
        self._runner = runner
        self._asks = asks
        self._lookup = lookup
        self._readers = readers
        self._streams = streams
        self._canceller = canceller
        self._deleter = deleter
        self._max_wait_s = int(max_wait.total_seconds())

    async def create_response(self, request: Request) -> Answer | StreamAnswer:
        """`POST /v1/responses`."""
        prefer = list_header(request.scope, "prefer")
        preference = read_preference(prefer, max_wait_s=self._max_wait_s)
        asked: list[ResponseAsk] = []

        async def translate(came: Came) -> Ask:
            asked.append(await self._asks.read(came, waits=preference.wait_s > 0))
            return asked[0].ask

        running = await self._runner.begin(request, translate)
        facts = _facts(running, asked[0])
        if asked[0].is_streamed:
            events = ResponseEvents(facts)
            with running.names_its_errors():
                return await self._streams.answer(
                    running, events, headers=running.headers(), on_close=running.close
                )
        with running.answering():
            if asked[0].is_background:
                return await _in_background(running, facts, preference)
            ending = await running.ended(request.receive)
            if ending.status != "cancelled":
                ending.completed_output()  # or its error is the answer
        return Answer.of(200, response_object(facts, _outcome(facts, ending)), running.headers())

    async def get_response(self, request: Request) -> Answer | StreamAnswer:
        """`GET /v1/responses/{response_id}`."""
        principal = self._runner.caller(request)
        is_streamed = asks_for_stream(request.query_params)
        after = asked_number(request) if is_streamed else None
        found = await self._found(request)
        headers = _job_header(found)
        if not is_streamed:
            if not found.state.status.is_terminal:
                headers.append(POLL_AFTER)
            return Answer.of(200, await self._lookup.shown(found), headers)
        reader = await self._readers.at_stream(principal, found.state.job)
        events = ResponseEvents(found.facts)
        return await self._streams.answer(
            reader, events, after=after, headers=headers, on_close=reader.close
        )

    async def cancel_response(self, request: Request) -> Answer:
        """`POST /v1/responses/{response_id}/cancel`."""
        principal = self._runner.caller(request)
        found = await self._found(request)
        if not found.state.status.is_terminal:
            if not found.facts.is_background:
                message = "Only responses that run in the background can be cancelled."
                raise ApiError("response_not_cancellable", message, param="response_id")
            reader = await self._readers.at_end(principal, found.state.job)
            try:
                if await self._canceller.cancel(principal, found.state):
                    await reader.ends_within(_CANCEL_PATIENCE)
            except Closing:
                pass  # the process drains: the answer tells how far it is
            finally:
                reader.close()
            response = request.path_params["response_id"]
            found = await self._lookup.ended(principal, response) or found
        return Answer.of(200, await self._lookup.shown(found), _job_header(found))

    async def delete_response(self, request: Request) -> Answer:
        """`DELETE /v1/responses/{response_id}`."""
        principal = self._runner.caller(request)
        found = await self._found(request)
        await self._canceller.cancel(principal, found.state)
        await self._deleter.delete(principal, found.state)
        await once_folded(
            lambda: self._lookup.is_kept(principal, found.state.job), lambda is_kept: not is_kept
        )
        body = {"id": found.facts.object_id, "object": "response", "deleted": True}
        return Answer.of(200, body, _job_header(found))

    async def list_input_items(self, request: Request) -> Answer:
        """`GET /v1/responses/{response_id}/input_items`."""
        self._runner.caller(request)
        query = item_query(request.query_params)
        found = await self._found(request)
        messages = await self._lookup.messages(found)
        items = input_items(found.state.job, messages[found.kept.surface.first_item :])
        return Answer.of(200, item_page(items, query), _job_header(found))

    async def _found(self, request: Request) -> Found:
        principal = self._runner.caller(request)
        return await self._lookup.find(principal, request.path_params["response_id"])


async def _in_background(running: Running, facts: ResponseFacts, preference: Preference) -> Answer:
    ending = await _ended_within(running, preference.wait_s)
    headers = running.headers()
    if preference.applied is not None:
        headers.append((b"preference-applied", preference.applied.encode()))
    if ending is None:
        headers.append(POLL_AFTER)
    return Answer.of(200, response_object(facts, _outcome(facts, ending)), headers)


async def _ended_within(running: Running, wait_s: float) -> Ending | None:
    if not wait_s:
        return None
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    try:
        while (left_s := until - loop.time()) > 0:
            items = await running.take(min(left_s, running.heartbeat_s))
            if items and is_end(items[-1]):
                return await running.ending_of(items[-1])
    except Closing:
        pass  # the process drains: the response runs on, and can be fetched elsewhere
    return None


def _facts(running: Running, asked: ResponseAsk) -> ResponseFacts:
    created_at = int(running.created_at.timestamp())
    return ResponseFacts(job=running.job, created_at=created_at, echo=asked.echo)


def _outcome(facts: ResponseFacts, ending: Ending | None) -> Outcome:
    if ending is None:
        return Outcome(status="queued" if facts.is_background else "in_progress")
    items: list[dict[str, Any]] = []
    if ending.status == "completed":
        items = output_of_choice(facts.job, first_choice(ending.completed_output()))
    return outcome_of(ending, items=items)


def _job_header(found: Found) -> list[tuple[bytes, bytes]]:
    return [(b"x-penstock-job", found.state.job.encode())]
