"""How a worker tells what happens to a job: ordered, gap-free, cheap per delta."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from penstock_contracts.events import (
    TERMINAL,
    Cancelled,
    Completed,
    Expired,
    Failed,
    JobEvent,
    Position,
    Reset,
    Retrying,
    Started,
    UnknownOutcome,
)
from penstock_contracts.parts import (
    ChatOutput,
    Delta,
    GenerateOutput,
    JobError,
    Output,
    Usage,
    merge_deltas,
)
from penstock_contracts.replies import ReplyAddress
from pydantic import TypeAdapter

from penstock_kit.blobs.store import BlobStore
from penstock_kit.clock import Clock
from penstock_kit.jobs.delta_writer import DeltaWriter
from penstock_kit.jobs.encoding import DeltaRecords, Face, encode_job_event
from penstock_kit.kafka.ports import OutRecord, Producer, ProducerFull
from penstock_kit.telemetry.tracing import TraceContext
from penstock_kit.tenancy import TenantScope

__all__ = ["JobEmitter", "encode_job_event"]

_OUTPUT: TypeAdapter[Output] = TypeAdapter(Output)
_FULL_PAUSE_S = 0.05
"""Between tries while the producer's queue is full: an awaited write never gives up on that."""


class JobEmitter:
    """The voice of one attempt; it owns `seq`. Call its verbs one after another, from one task.

    Lifecycle events return after the broker's acknowledgement. Deltas are enqueued and return at
    once; they are in the log before any event that is emitted later. A delta whose write fails
    later is counted in `lost_writes` and written again before anything else.

    `surface` is the kind of the job's surface: lifecycle events carry it in a header, so that who
    waits for the ends of such jobs needs to decode nothing. `reply` is where the job's producer
    wants to hear of its end: the terminal event carries it.
    """

    def __init__(
        self,
        *,
        producer: Producer,
        blobs: BlobStore,
        clock: Clock,
        job: str,
        tenant: str,
        user: str | None,
        attempt: int,
        source: str,
        trace: TraceContext | None = None,
        surface: str | None = None,
        reply: ReplyAddress | None = None,
    ) -> None:
        self._producer = producer
        self._blobs = blobs
        self._clock = clock
        self._job = job
        self._tenant = tenant
        self._user = user
        self._attempt = attempt
        self._source = source
        self._trace = trace
        self._face = None if surface is None else Face(surface)
        self._reply = reply
        self._seq = 0
        self._is_over = False
        self._held: list[Delta] = []
        self._records = DeltaRecords(
            job=job, tenant=tenant, user=user, attempt=attempt, source=source, trace=trace
        )
        self._deltas = DeltaWriter(producer, self._records, clock=clock, write=self._write)
        self.has_output = False

    @property
    def position(self) -> Position:
        """The place of the last event; seq 0 before the first."""
        return Position(self._attempt, self._seq)

    @property
    def lost_writes(self) -> int:
        """How often a delta was not acknowledged in time."""
        return self._deltas.lost_writes

    @property
    def is_over(self) -> bool:
        """Whether this attempt has emitted a terminal event or `retrying`."""
        return self._is_over

    async def started(
        self,
        *,
        task: str,
        worker: str,
        model: str | None = None,
        provider: str | None = None,
        until: datetime | None = None,
        crashes: int = 0,
    ) -> None:
        """Say that the call is about to begin; only after this returned may it begin."""
        await self._emit(
            Started(
                **self._place(),
                task=task,
                worker=worker,
                model=model,
                provider=provider,
                until=until,
                crashes=crashes or None,
            )
        )

    async def reset(self, reason: Literal["retry", "fallback", "repair", "redelivery"]) -> None:
        """Say that output sent so far is void."""
        await self._deltas.settle()
        self._held.clear()
        self.has_output = False
        await self._emit(Reset(**self._place(), reason=reason))

    def delta(self, deltas: Sequence[Delta]) -> None:
        """Send pieces of output soon; while the producer is full they join the next ones."""
        assert not self._is_over, "the attempt is over"
        if not deltas:
            return
        self.has_output = True
        if self._held:
            deltas = merge_deltas([*self._held, *deltas])
        if self._deltas.send(deltas, seq=self._seq + 1):
            self._held = []
            self._seq += 1
        else:
            self._held = list(deltas)

    async def retrying(self, error: JobError, *, delay_s: float, next_attempt: int) -> None:
        """Say that this attempt failed and another one follows."""
        await self._send_held()
        await self._emit(
            Retrying(**self._place(), error=error, delay_s=delay_s, next_attempt=next_attempt)
        )
        self._is_over = True

    async def completed(
        self,
        output: Output,
        *,
        usage: Usage,
        model: str | None = None,
        provider: str | None = None,
    ) -> None:
        """End the job with its output; one above the inline limit goes to the blob store first.

        Raises:
            Retryable: the blob store is away; nothing was emitted, call again.
        """
        await self._send_held()
        if self._face is not None:
            self._face = replace(self._face, finish=_finish(output))
        raw = _OUTPUT.dump_json(output, exclude_none=True, by_alias=True)
        if len(raw) <= self._blobs.inline_limit_bytes:
            body = Completed(
                **self._place(), output=output, usage=usage, model=model, provider=provider
            )
        else:
            ref = await self._blobs.put(TenantScope(self._tenant), self._job, "output", raw)
            await self._deltas.settle()  # that may have taken long
            body = Completed(
                **self._place(), output_ref=ref, usage=usage, model=model, provider=provider
            )
        await self._emit(body)

    async def failed(self, error: JobError, *, usage: Usage | None = None) -> None:
        """End the job: it will not succeed."""
        await self._send_held()
        await self._emit(Failed(**self._place(), error=error, usage=usage or Usage()))

    async def cancelled(
        self, *, by: str | None, was_running: bool, usage: Usage | None = None
    ) -> None:
        """End the job because somebody who may do so called it back."""
        await self._send_held()
        await self._emit(
            Cancelled(**self._place(), by=by, was_running=was_running, usage=usage or Usage())
        )

    async def expired(self, deadline: datetime) -> None:
        """End the job: its deadline passed before the start."""
        await self._emit(Expired(**self._place(), deadline=deadline))

    async def unknown_outcome(self, error: JobError, *, usage: Usage | None = None) -> None:
        """End the job: a call that must not be repeated was cut off."""
        await self._emit(UnknownOutcome(**self._place(), error=error, usage=usage or Usage()))

    def _place(self) -> dict[str, Any]:
        return {
            "job": self._job,
            "attempt": self._attempt,
            "seq": self._seq + 1,
            "at": self._clock.now(),
        }

    async def _emit(self, event: JobEvent) -> None:
        assert not self._is_over, "the attempt is over"
        await self._write(
            encode_job_event(
                event,
                tenant=self._tenant,
                user=self._user,
                source=self._source,
                trace=self._trace,
                face=self._face,
                reply=self._reply,
            )
        )
        self._seq = event.seq
        self._is_over = event.type in TERMINAL

    async def _send_held(self) -> None:
        await self._deltas.settle()
        if self._held:
            record = self._records.record(self._held, seq=self._seq + 1, at=self._clock.now())
            await self._write(record)
            self._held = []
            self._seq += 1

    async def _write(self, record: OutRecord) -> None:
        while True:
            try:
                await self._producer.send(record)
            except ProducerFull:
                await asyncio.sleep(_FULL_PAUSE_S)
            else:
                return


def _finish(output: Output) -> str | None:
    """Why the first choice of the output ended."""
    if isinstance(output, ChatOutput):
        return output.choices[0].finish_reason if output.choices else None
    return output.finish_reason if isinstance(output, GenerateOutput) else None
