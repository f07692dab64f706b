"""Batches of callers: asking for one, finding, listing, calling back.

A batch is taken when the log has its request; whoever runs it writes down what becomes of it. So a
cancel is an order to that process; until it has said `cancelling`, a note beside the state says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import structlog
from penstock_contracts.batches import BatchRequest, BatchState, BatchStatus
from penstock_contracts.codec import decode_model
from penstock_contracts.files import FilePurpose
from penstock_contracts.ids import JobIds, new_uuid7
from penstock_kit.auth.principal import Principal
from penstock_kit.batches.recalls import Recalls
from penstock_kit.batches.records import first_state, request_record, shelved_batch
from penstock_kit.batches.shelf import PageAsk, Shelf
from penstock_kit.clock import Clock
from penstock_kit.control import cancel_record
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.ports import BrokerFault, DeliveryUnknown, OutRecord, Producer, ProducerFull
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.openai.batches.body import BatchBody
from gateway.openai.files.desk import FileDesk
from gateway.openai.files.ids import BATCH_PREFIX, issued, job_form
from gateway.records import Speaker
from gateway.status import table_unavailable

__all__ = ["WINDOW", "AskedBatch", "BatchDesk", "BatchPage"]

log = structlog.get_logger(__name__)

WINDOW: Final = timedelta(hours=24)
_ROUTE: Final = "batches"
_CALLED_BACK: Final = (BatchStatus.CANCELLING, BatchStatus.CANCELLED)
_HAS_LINES: Final = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
"""There is something to call back."""
_BEFORE_END: Final = (*_HAS_LINES, BatchStatus.FINALIZING)


@dataclass(frozen=True, slots=True)
class AskedBatch:
    """A batch that the log has; `is_replay`: its Idempotency-Key was used before."""

    state: BatchState
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some batches, newest first."""

    batches: list[BatchState]
    has_more: bool


class BatchDesk:
    """The verbs of `/v1/batches`. `randomness(n)` gives n random bytes."""

    def __init__(
        self,
        *,
        files: FileDesk,
        shelf: Shelf,
        recalls: Recalls,
        producer: Producer,
        speaker: Speaker,
        ids: JobIds,
        clock: Clock,
        randomness: Callable[[int], bytes],
    ) -> None:
        self._files = files
        self._shelf = shelf
        self._recalls = recalls
        self._producer = producer
        self._speaker = speaker
        self._ids = ids
        self._clock = clock
        self._randomness = randomness

    async def create(self, principal: Principal, body: BatchBody, key: str | None) -> AskedBatch:
        """Write the batch and wait until the log has it.

        Raises:
            ApiError: invalid_value for a file that cannot be used, idempotency_key_reused,
                broker_busy, acceptance_unknown, table_unavailable.
        """
        batch_id = self._new_id(principal.tenant, key)
        fingerprint = None if key is None else _fingerprint(body)
        if key is not None:
            earlier = await self._earlier(principal, batch_id, fingerprint)
            if earlier is not None:
                return AskedBatch(earlier, is_replay=True)
        await self._check_file(principal, body.input_file_id)
        now = self._clock.now()
        keeps = body.output_expires_after
        request = BatchRequest(
            id=batch_id,
            tenant=principal.tenant,
            user=principal.user,
            input_file_id=body.input_file_id,
            endpoint=body.endpoint,
            completion_window=body.completion_window,
            metadata=body.metadata,
            output_expires_after_s=None if keeps is None else keeps.seconds,
            fingerprint=fingerprint,
            created_at=now,
            expires_at=now + WINDOW,
        )
        speaker = self._speaker
        await self._send(request_record(request, producer=speaker.producer, secret=speaker.secret))
        return await self._show(principal, request)

    async def find(self, principal: Principal, batch_id: str) -> BatchState:
        """The batch, if the caller may see it.

        Raises:
            ApiError: batch_not_found, table_unavailable.
        """
        if not issued(self._ids, BATCH_PREFIX, batch_id, tenant=principal.tenant):
            raise _not_found()
        try:
            value = await self._shelf.get(principal.scope, batch_id)
        except TableAway as error:
            raise table_unavailable(error) from error
        if value is None:
            raise _not_found()
        (state,) = await self._shown(principal.tenant, [value])
        return state

    async def page(self, principal: Principal, ask: PageAsk) -> BatchPage:
        """A page of the batches that the caller may see.

        Raises:
            ApiError: invalid_value for an `after` that is none; table_unavailable.
        """
        try:
            page = await self._shelf.page(principal.scope, ask)
        except TableAway as error:
            raise table_unavailable(error) from error
        if page is None:
            message = "Invalid 'after': there is no such batch; use the last id of the page before."
            raise ApiError("invalid_value", message, param="after")
        return BatchPage(await self._shown(principal.tenant, page.values), page.has_more)

    async def cancel(self, principal: Principal, batch_id: str) -> BatchState:
        """Call the batch back; lines that have ended are kept. Asking twice is no error.

        Raises:
            ApiError: batch_not_found, batch_is_over, broker_busy, acceptance_unknown.
        """
        state = await self.find(principal, batch_id)
        if state.status in _CALLED_BACK:
            return state
        if state.status not in _HAS_LINES:
            message = f"Cannot cancel a batch with status '{state.status.value}'."
            raise ApiError("batch_is_over", message)
        now = self._clock.now()
        await self._send(
            cancel_record(
                job_form(BATCH_PREFIX, batch_id),
                tenant=principal.tenant,
                by=principal.user,
                now=now,
            )
        )
        try:
            await self._recalls.note(principal.scope, batch_id, now)
        except TableAway:
            log.debug("batch.cancel_shown_later", batch=batch_id)  # whoever runs it will say so
        return _called_back(state, now)

    async def _shown(self, tenant: str, values: Sequence[bytes]) -> list[BatchState]:
        """Batches as their owners see them: who was told `cancelling` reads nothing earlier.

        Raises:
            ApiError: table_unavailable.
        """
        states = [decode_model(BatchState, value) for value in values]
        going_on = [state.request.id for state in states if state.status in _BEFORE_END]
        if not going_on:
            return states
        try:
            asked = await self._recalls.asked(TenantScope(tenant), going_on)
        except TableAway as error:
            raise table_unavailable(error) from error
        at = dict(zip(going_on, asked, strict=True))
        return [_called_back(state, at.get(state.request.id)) for state in states]

    def _new_id(self, tenant: str, key: str | None) -> str:
        if key is not None:
            uuid = self._ids.uuid_for_key(tenant=tenant, route=_ROUTE, key=key)
        else:
            now_ms = int(self._clock.now().timestamp() * 1000)
            uuid = new_uuid7(now_ms=now_ms, randomness=self._randomness(10))
        return BATCH_PREFIX + self._ids.issue(tenant=tenant, uuid=uuid).removeprefix("job_")

    async def _show(self, principal: Principal, request: BatchRequest) -> AskedBatch:
        """Show what the log has; of two with one key at the same moment the first one counts."""
        state = first_state(request)
        try:
            is_first = await self._shelf.put(shelved_batch(state))
            known = None if is_first else await self._known(principal, request.id)
        except TableAway:
            log.debug("batch.shown_later", batch=request.id)  # the recorder folds it as well
            return AskedBatch(state)
        if known is None or decode_model(BatchState, known).request == request:
            return AskedBatch(state)
        return AskedBatch(
            await self._replayed(principal, known, request.fingerprint), is_replay=True
        )

    async def _known(self, principal: Principal, batch_id: str) -> bytes | None:
        return await self._shelf.get(TenantScope(principal.tenant), batch_id)

    async def _earlier(
        self, principal: Principal, batch_id: str, fingerprint: str | None
    ) -> BatchState | None:
        try:
            value = await self._known(principal, batch_id)
        except TableAway as error:
            raise table_unavailable(error) from error
        return None if value is None else await self._replayed(principal, value, fingerprint)

    async def _replayed(
        self, principal: Principal, value: bytes, fingerprint: str | None
    ) -> BatchState:
        (state,) = await self._shown(principal.tenant, [value])
        if state.request.fingerprint != fingerprint or state.request.user != principal.user:
            message = (
                "this Idempotency-Key was used with another body; "
                "use a fresh key for a new request, or repeat the first body"
            )
            raise ApiError("idempotency_key_reused", message, param="Idempotency-Key")
        return state

    async def _check_file(self, principal: Principal, file_id: str) -> None:
        try:
            file = await self._files.find(principal, file_id)
        except ApiError as error:
            if error.kind.code != "file_not_found":
                raise
            message = "Invalid 'input_file_id': there is no such file; upload one at /v1/files."
            raise ApiError("invalid_value", message, param="input_file_id") from None
        if file.purpose is not FilePurpose.BATCH:
            message = (
                f"Invalid 'input_file_id': the file's purpose is '{file.purpose.value}'. Upload "
                "the input with purpose 'batch'."
            )
            raise ApiError("invalid_value", message, param="input_file_id")

    async def _send(self, record: OutRecord) -> None:
        try:
            await self._producer.send(record)
        except ProducerFull as error:
            message = "the log takes nothing at the moment; nothing was accepted, send it again"
            raise ApiError("broker_busy", message, retry_after_s=error.retry_after_s) from error
        except (DeliveryUnknown, BrokerFault) as error:
            message = (
                "the log did not confirm it in time, it may or may not happen; look at batches, "
                "or repeat the request with its Idempotency-Key"
            )
            raise ApiError("acceptance_unknown", message, retry_after_s=5.0) from error


def _fingerprint(body: BatchBody) -> str:
    value: Any = body.model_dump(mode="json")
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _called_back(state: BatchState, at: datetime | None) -> BatchState:
    if at is None:
        return state
    return state.model_copy(update={"status": BatchStatus.CANCELLING, "cancelling_at": at})


def _not_found() -> ApiError:
    message = "No such Batch object is visible to you; check the id and whose key you use."
    return ApiError("batch_not_found", message, param="batch_id")
