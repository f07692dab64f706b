"""Finding a response again: its job, and what was kept of its request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from penstock_contracts.parts import BlobRef
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest
from penstock_kit.auth.principal import Principal
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.jobs.folding import FOLD_PAUSES_S, once_folded
from penstock_kit.jobs.view import JobTable, TableAway
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.openai.ending import Ending, Endings
from gateway.openai.object_ids import RESPONSE_PREFIX, job_of
from gateway.openai.responses.events import outcome_of
from gateway.openai.responses.objects import (
    Outcome,
    ResponseFacts,
    output_of_choice,
    response_object,
)
from gateway.openai.responses.results import first_choice
from gateway.ports import Blobs
from gateway.status import JobReader, table_unavailable

__all__ = ["KIND", "Found", "ResponseLookup"]

KIND: Final = "response"
_ENDING_MEMBERS: Final = ("output", "output_ref", "usage", "error", "model")


@dataclass(frozen=True, slots=True)
class Found:
    """A response as the table knows it."""

    state: JobState
    kept: KeptRequest

    @property
    def facts(self) -> ResponseFacts:
        """What every view of the response begins with."""
        created_at = self.state.created_at
        return ResponseFacts(
            job=self.state.job,
            created_at=0 if created_at is None else int(created_at.timestamp()),
            echo=self.kept.surface.echo,
        )


class ResponseLookup:
    """Reads responses for callers; whoever may not see one learns nothing of it."""

    def __init__(
        self,
        *,
        table: JobTable,
        reader: JobReader,
        blobs: Blobs,
        endings: Endings,
    ) -> None:
        self._table = table
        self._reader = reader
        self._blobs = blobs
        self._endings = endings

    async def find(self, principal: Principal, response: str) -> Found:
        """The response.

        Raises:
            ApiError: response_not_found; table_unavailable.
        """
        found = await self.look(principal, response)
        if found is None:
            message = f"Response with id '{response[:64]}' not found."
            raise ApiError("response_not_found", message, param="response_id")
        return found

    async def look(self, principal: Principal, response: str) -> Found | None:
        """The response, or None if there is none that the caller may see and fetch.

        Waits a moment for one that the log has taken just now.

        Raises:
            ApiError: table_unavailable.
        """
        job = job_of(RESPONSE_PREFIX, response)
        if job is None:
            return None
        try:
            state = await self._visible(principal, job)
            if state is None:
                return None
            # In the caller's own scope: of a job that nobody had folded, the id alone was known.
            kept = await self._table.request(principal.scope, job)
            kept = kept or await self._folded(principal, job)
        except TableAway as error:
            raise table_unavailable(error) from error
        if kept is None or kept.surface.kind != KIND:
            return None
        return Found(state, kept)

    async def is_kept(self, principal: Principal, job: str) -> bool:
        """Whether the table still has a response's request, as far as it answers."""
        try:
            return await self._table.request(TenantScope(principal.tenant), job) is not None
        except TableAway:
            return False

    async def ended(self, principal: Principal, response: str) -> Found | None:
        """The same, after waiting a moment for an end that the table may not have folded yet."""
        return await once_folded(
            lambda: self.look(principal, response),
            lambda found: found is None or found.state.status.is_terminal,
        )

    async def shown(self, found: Found) -> dict[str, Any]:
        """The response object.

        Raises:
            ApiError: blobs_unavailable, result_gone.
        """
        return response_object(found.facts, await self.outcome(found))

    async def outcome(self, found: Found) -> Outcome:
        """How the response stands.

        Raises:
            ApiError: blobs_unavailable, result_gone.
        """
        state = found.state
        if not state.status.is_terminal:
            waits = state.status.value == "queued" and found.facts.is_background
            return Outcome(status="queued" if waits else "in_progress")
        ending = await self._ending(state)
        items = []
        if ending.status == "completed":
            items = output_of_choice(state.job, first_choice(ending.completed_output()))
        return outcome_of(ending, items=items)

    async def choice(self, found: Found) -> Mapping[str, Any] | None:
        """What the model answered; None if the response has no answer.

        Raises:
            ApiError: blobs_unavailable, result_gone.
        """
        if found.state.status.value != "completed":
            return None
        return first_choice((await self._ending(found.state)).completed_output())

    async def messages(self, found: Found) -> list[dict[str, Any]]:
        """The messages that were sent to the model.

        Raises:
            ApiError: blobs_unavailable, result_gone.
        """
        value = found.kept.input
        if value is None and found.kept.input_ref is not None:
            value = await self._fetch(found.state, found.kept.input_ref)
        messages: list[dict[str, Any]] = (value or {}).get("messages", [])
        return messages

    async def _ending(self, state: JobState) -> Ending:
        shown = state.model_dump(mode="json", exclude_none=True)
        value: dict[str, Any] = {name: shown[name] for name in _ENDING_MEMBERS if name in shown}
        value["at"] = shown.get("ended_at")
        return await self._endings.read(
            TenantScope(state.tenant), {**value, "type": state.status.value}
        )

    async def _visible(self, principal: Principal, job: str) -> JobState | None:
        try:
            return await self._reader.find(principal, job)
        except ApiError as error:
            if error.kind.code == "job_not_found":
                return None
            raise

    async def _folded(self, principal: Principal, job: str) -> KeptRequest | None:
        """The request, once the table has the job; None: nothing was kept of it."""
        scope = principal.scope

        async def read() -> tuple[bool, KeptRequest | None]:
            is_there = await self._table.get(scope, job) is not None
            return is_there, await self._table.request(scope, job)

        # The table may have the job by its hint, some moments before its request.
        await asyncio.sleep(FOLD_PAUSES_S[0])
        return (await once_folded(read, any))[1]

    async def _fetch(self, state: JobState, ref: BlobRef) -> Any:
        try:
            stored = self._blobs.stream(TenantScope(state.tenant), ref)
            return orjson.loads(b"".join([piece async for piece in stored]))
        except Retryable as error:
            message = "the store for large inputs does not answer; ask again later"
            raise ApiError(
                "blobs_unavailable", message, retry_after_s=error.retry_after_s or 2.0
            ) from error
        except Rejected as error:
            message = "the input of this response is no longer stored"
            raise ApiError("result_gone", message) from error
