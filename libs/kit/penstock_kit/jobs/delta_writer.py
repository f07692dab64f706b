"""Deltas on their way to the broker: enqueued without waiting, written again if they got lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from penstock_contracts.parts import Delta

from penstock_kit.clock import Clock
from penstock_kit.jobs.encoding import DeltaRecords
from penstock_kit.kafka.ports import Ack, OutRecord, Producer, ProducerFull

__all__ = ["DeltaWriter"]

log = structlog.get_logger(__name__)

_SLOW_S: Final = 1.0
"""A delta without acknowledgement for so long may yet get lost: later ones wait for it, or they
could be in the log before it. A broker in good health takes a few milliseconds."""
_DUE_S: Final = 0.02
"""The same for what ends an attempt, since nothing can be mended behind an end. Records that were
enqueued closer together are nearly always given up together: the client looks once a second."""


class DeltaWriter:
    """Keeps the deltas of one attempt in the log without a gap, at no cost while all goes well.

    Once a delta is lost (no acknowledgement in time), later ones wait until it is written again
    under its own `seq`; readers drop it if it had arrived after all.
    """

    def __init__(
        self,
        producer: Producer,
        records: DeltaRecords,
        *,
        clock: Clock,
        write: Callable[[OutRecord], Awaitable[None]],
    ) -> None:
        """`write` returns after the broker's acknowledgement."""
        self._producer = producer
        self._records = records
        self._clock = clock
        self._write = write
        self._waiting: dict[int, tuple[float, Sequence[Delta]]] = {}
        self._lost: dict[int, Sequence[Delta]] = {}
        self._news = asyncio.Event()
        self.lost_writes = 0

    def send(self, deltas: Sequence[Delta], *, seq: int) -> bool:
        """Enqueue a delta event; False: not now, keep the pieces for the next one.

        While the broker is slow nothing is added: the client gives its records up by age, so the
        young would get there, and the old would be missing before them.
        """
        if self._is_waiting_for(_SLOW_S) or (self._lost and not self._send_lost_again()):
            return False
        return self._enqueue(deltas, seq)

    async def settle(self) -> None:
        """Return when nothing is lost, and nothing is likely to be.

        Raises:
            Retryable: the broker is away; call again.
        """
        while self._lost or self._is_waiting_for(_DUE_S):
            if self._waiting:
                self._news.clear()
                await self._news.wait()
            else:
                seq = min(self._lost)
                await self._write(self._record(self._lost[seq], seq))
                del self._lost[seq]

    def _send_lost_again(self) -> bool:
        """Enqueue what is lost, in order; False while some are under way or the queue is full."""
        if self._waiting:
            return False
        for seq in sorted(self._lost):
            if not self._enqueue(self._lost[seq], seq):
                return False
            del self._lost[seq]
        return True

    def _enqueue(self, deltas: Sequence[Delta], seq: int) -> bool:
        self._waiting[seq] = (self._clock.monotonic(), deltas)

        def on_ack(_: Ack | None, error: Exception | None) -> None:
            self._settle_one(seq, error)

        try:
            self._producer.send_soon(self._record(deltas, seq), on_ack)
        except ProducerFull:
            del self._waiting[seq]
            return False
        return True

    def _settle_one(self, seq: int, error: Exception | None) -> None:
        _, deltas = self._waiting.pop(seq)
        if error is not None:
            self._lost[seq] = deltas
            self.lost_writes += 1
            log.warning("job.delta_unwritten", seq=seq, error=type(error).__name__)
        self._news.set()

    def _is_waiting_for(self, limit_s: float) -> bool:
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and self._clock.monotonic() - oldest[0] > limit_s

    def _record(self, deltas: Sequence[Delta], seq: int) -> OutRecord:
        return self._records.record(deltas, seq=seq, at=self._clock.now())
