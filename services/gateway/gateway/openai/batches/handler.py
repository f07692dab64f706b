"""The lanes' handler of batches: one record, one run, in whichever gateway holds its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog
from penstock_contracts.batches import BatchRequest, BatchState, BatchStatus
from penstock_contracts.catalog import CE_BATCH_REQUEST
from penstock_contracts.codec import decode_model
from penstock_contracts.credentials import Scope
from penstock_contracts.envelope import decode_event, signature_is_valid
from penstock_contracts.errors import ContractError
from penstock_kit.auth.principal import Principal
from penstock_kit.batches.lease import BatchHeld, Confirm, Leases
from penstock_kit.batches.records import first_state
from penstock_kit.batches.shelf import Shelf
from penstock_kit.control import Cancel
from penstock_kit.errors import Busy, Rejected
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Delivery, Done
from penstock_kit.tenancy import TenantScope

from gateway.openai.batches.journal import Journal
from gateway.openai.batches.run import BatchRun
from gateway.openai.batches.run_parts import RunParts
from gateway.openai.batches.slots import LineSlots
from gateway.openai.files.ids import BATCH_PREFIX, job_form
from gateway.records import Speaker

__all__ = ["BatchHandler", "Cancels"]

log = structlog.get_logger(__name__)

_MOST_FAILURES = 3
"""Below the lanes' own limit, beyond which a record is dead-lettered and nobody ends the batch."""


class Cancels(Protocol):
    """What was called back; see `penstock_kit.control.ControlBoard`."""

    def is_cancelled(self, job: str, tenant: str) -> bool:
        """Whether this tenant called it back."""
        ...

    def on_cancel(self, callback: Callable[[Cancel], None]) -> None:
        """Call back for each new cancel."""
        ...

    def forget(self, job: str) -> None:
        """It is over."""
        ...


class BatchHandler:
    """Runs batches. `leave` lets go of all of them, for the next gateway to go on."""

    def __init__(
        self,
        *,
        parts: RunParts,
        batches: Shelf,
        new_journal: Callable[[BatchState, Confirm], Journal],
        leases: Leases,
        cancels: Cancels,
        slots: LineSlots,
        speaker: Speaker,
    ) -> None:
        self._parts = parts
        self._batches = batches
        self._new_journal = new_journal
        self._leases = leases
        self._cancels = cancels
        self._slots = slots
        self._speaker = speaker
        self._runs: dict[str, BatchRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_leaving = False
        cancels.on_cancel(self._on_cancel)

    async def __call__(self, delivery: Delivery) -> Done:
        """Run the batch that a record asks for.

        Raises:
            Rejected: the record is none of ours.
            Busy: another gateway runs it, or this one is being stopped.
        """
        request = self._verified(delivery.record)
        if self._is_leaving:
            raise _leaving(request.id)
        is_last = delivery.failures >= _MOST_FAILURES
        task = asyncio.create_task(self._run(request, is_last=is_last), name=f"batch {request.id}")
        self._tasks.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._tasks.discard(task)
        if task.cancelled():
            raise _leaving(request.id)
        task.result()
        return Done()

    def leave(self) -> None:
        """Let go of every batch: what has ended is kept, and the next owner goes on."""
        self._is_leaving = True
        for task in tuple(self._tasks):
            task.cancel()

    @property
    def running(self) -> int:
        """How many batches run here."""
        return len(self._runs)

    async def _run(self, request: BatchRequest, *, is_last: bool) -> None:
        scope = TenantScope(request.tenant)
        task = asyncio.current_task()
        assert task is not None
        async with self._leases.hold(scope, request.id, on_lost=lambda: _cancel(task)) as confirm:
            state = await self._state(scope, request)
            if state.status.is_terminal:
                return
            share, journal = self._slots.share(), self._new_journal(state, confirm)
            run = BatchRun(
                state,
                principal=_principal(request),
                journal=journal,
                parts=self._parts,
                share=share,
            )
            job = job_form(BATCH_PREFIX, request.id)
            self._runs[job] = run
            is_cancelled = self._cancels.is_cancelled(job, request.tenant)
            if is_cancelled or state.status is BatchStatus.CANCELLING:
                run.call_back()
            try:
                await run.run()
            except BatchHeld:
                raise
            except Exception:
                # A fault of ours: tried again, and said at last instead of being silent for ever.
                log.exception("batch.fault", batch=request.id)
                if not is_last:
                    raise
                await run.fail()
            finally:
                journal.drop()
                share.close()
                del self._runs[job]
            self._cancels.forget(job)

    async def _state(self, scope: TenantScope, request: BatchRequest) -> BatchState:
        value = await self._batches.get(scope, request.id)
        return first_state(request) if value is None else decode_model(BatchState, value)

    def _verified(self, record: Record) -> BatchRequest:
        try:
            envelope, data = decode_event(record.headers, record.value)
            request = decode_model(BatchRequest, data)
        except ContractError as error:
            raise Rejected(str(error), code=error.code, field=error.field) from None
        is_ours = (
            envelope.type == CE_BATCH_REQUEST
            and envelope.producer == self._speaker.producer
            and signature_is_valid(envelope, data, secret=self._speaker.secret)
            and envelope.tenant == request.tenant
            and envelope.subject == request.id
        )
        if not is_ours:
            raise Rejected("the record is not signed by a gateway", code="bad_signature")
        return request

    def _on_cancel(self, cancel: Cancel) -> None:
        run = self._runs.get(cancel.job)
        if run is not None and run.tenant == cancel.tenant:
            run.call_back()


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _principal(request: BatchRequest) -> Principal:
    return Principal(
        tenant=request.tenant,
        user=request.user,
        level=Scope.USER,
        credential=f"batch:{request.id}",
    )


def _leaving(batch: str) -> Busy:
    return Busy(f"this gateway lets go of {batch}; another one goes on", retry_after_s=1.0)
