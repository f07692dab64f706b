"""Dynamic batching: texts of many jobs share calls of the model, each job gets its own answer.

Nothing waits for a batch to fill: a text that finds the model idle runs at once, and what arrives
while a batch runs forms the next one. Batches hold texts of similar length, so that little of a
call is padding.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from penstock_kit.clock import Clock
from penstock_kit.errors import Rejected, Retryable

from embedder.errors import ModelAway, ModelFault, UnusableText
from embedder.metrics import Metrics
from embedder.ports import Embedded, EmbeddingModel, TokenizedText, Vectors
from embedder.vectors import usable_rows
from embedder.waiting import Batch, BatchPolicy, Item, Ticket, Urgency, WaitingTexts

__all__ = ["Batcher", "Share"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Share:
    """What a job's part of the batches cost, also where the job did not get to its end.

    Attributes:
        billed_tokens: what the provider counted; None if it did not say.
        counted_tokens: our own count of the same texts.
        under_way_tokens: our count of texts in calls whose end the job did not wait for.
        is_exact: False where the bill of a batch of several jobs was divided by length.
    """

    billed_tokens: int | None
    counted_tokens: int
    under_way_tokens: int
    is_exact: bool


class Batcher:
    """Runs a model's batches; a Part. One instance per model."""

    def __init__(
        self, model: EmbeddingModel, *, policy: BatchPolicy, clock: Clock, metrics: Metrics
    ) -> None:
        self._model = model
        self._clock = clock
        self._metrics = metrics
        self._waiting = WaitingTexts(policy)
        self._changed = asyncio.Event()
        self._runners: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to run batches, as many at a time as the model can."""
        self._runners = [
            asyncio.create_task(self._run_batches(), name=f"embedder-batches-{number}")
            for number in range(self._model.spec.parallel)
        ]

    async def stop(self) -> None:
        """Abandon the batches in progress; whoever still waits is told to try again later."""
        runners, self._runners = self._runners, []
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)
        for ticket in self._waiting.withdraw_all():
            ticket.fail(Retryable("the embedder stops; the job is tried again by another one"))

    async def embed(
        self,
        texts: Sequence[TokenizedText],
        *,
        urgency: Urgency,
        book: Callable[[Share], None],
        dimensions: int | None = None,
    ) -> Vectors:
        """Embed a job's texts, at least one; a cancelled caller's waiting texts are withdrawn.

        `book` is told once what was used, whatever the outcome. Gives (texts, dimensions) float32
        of unit length, in the order of the texts.

        Raises:
            UnusableText: a text gives no vector, or the model refuses it; `index` tells which. The
                other jobs of its batch are not affected.
            Retryable: the model is away, or it broke on a text.
        """
        assert texts, "a job without texts has nothing to wait for"
        ticket = Ticket(texts, urgency=urgency, dimensions=dimensions)
        while not self._waiting.has_room_for(ticket):
            await self._changed.wait()
        self._waiting.add(ticket, now=self._clock.monotonic())
        self._tell_change()
        try:
            await ticket.done
        finally:
            self._waiting.withdraw(ticket)
            self._tell_change()
            book(_share(ticket))
        return ticket.vectors

    async def _run_batches(self) -> None:
        while True:
            batch = await self._next_batch()
            try:
                await self._run(batch, batch.items)
            except asyncio.CancelledError:
                error = Retryable("the embedder stops; the job is tried again by another one")
                for item in batch.items:
                    item.ticket.fail(error)
                raise

    async def _next_batch(self) -> Batch:
        while (batch := self._waiting.next_batch(now=self._clock.monotonic())) is None:
            await self._changed.wait()
        self._tell_change()
        return batch

    async def _run(self, batch: Batch, items: Sequence[Item]) -> None:
        """One call for `items`; a text that breaks it is found by halves, the others go through."""
        items = [item for item in items if not item.ticket.done.done()]
        if not items:
            return
        started = self._clock.monotonic()
        try:
            embedded = await self._call(batch, items)
        except ModelAway as error:
            self._metrics.failed_batches.labels("away").inc()
            for item in items:
                item.ticket.fail(error)
        except Exception as error:  # noqa: BLE001 - the loop's edge: whatever the model throws ends jobs, not the loop
            await self._isolate(batch, items, error)
        else:
            self._count(batch, items, self._clock.monotonic() - started)
            _deliver(items, embedded)

    async def _call(self, batch: Batch, items: Sequence[Item]) -> Embedded:
        """One call. One that a stop cuts short stays under way: it may be billed."""
        for item in items:
            item.ticket.under_way_tokens += item.text.tokens
        try:
            embedded = await self._model.embed(
                [item.text for item in items], dimensions=batch.dimensions
            )
        except Exception:
            _set_over(items)
            raise
        _set_over(items)
        return embedded

    async def _isolate(self, batch: Batch, items: Sequence[Item], error: Exception) -> None:
        if len(items) > 1:
            self._metrics.failed_batches.labels("split").inc()
            middle = len(items) // 2
            await self._run(batch, items[:middle])
            await self._run(batch, items[middle:])
            return
        self._metrics.failed_batches.labels("text").inc()
        [item] = items
        log.warning("batch.text_failed", index=item.index, error=type(error).__name__)
        item.ticket.fail(_blame(item, error))

    def _count(self, batch: Batch, items: Sequence[Item], seconds: float) -> None:
        tokens = sum(item.text.tokens for item in items)
        padded = len(items) * max(item.text.tokens for item in items)
        self._metrics.batch_seconds.labels(batch.urgency.value).observe(seconds)
        self._metrics.batch_texts.observe(len(items))
        self._metrics.tokens.inc(tokens)
        self._metrics.padding_tokens.inc(padded - tokens)

    def _tell_change(self) -> None:
        """Wake whoever waits for texts or for room; each looks for itself."""
        self._changed.set()
        self._changed = asyncio.Event()
        for urgency in Urgency:
            self._metrics.waiting_texts.labels(urgency.value).set(self._waiting.count(urgency))


def _share(ticket: Ticket) -> Share:
    return Share(
        ticket.billed_tokens, ticket.counted_tokens, ticket.under_way_tokens, ticket.is_exact
    )


def _set_over(items: Sequence[Item]) -> None:
    for item in items:
        item.ticket.under_way_tokens -= item.text.tokens


def _deliver(items: Sequence[Item], embedded: Embedded) -> None:
    is_usable = usable_rows(embedded.vectors)
    is_exact = all(item.ticket is items[0].ticket for item in items)
    bills = _divided(embedded.billed_tokens, [item.text.tokens for item in items])
    for row, item in enumerate(items):
        item.ticket.bill(bills[row], counted=item.text.tokens, is_exact=is_exact)
        if is_usable[row]:
            item.ticket.fill(item.index, embedded.vectors[row])
        else:
            item.ticket.fail(
                UnusableText(
                    f"the model gives no vector for text {item.index}; change or remove it",
                    code="no_vector",
                    index=item.index,
                )
            )


def _divided(total: int | None, weights: Sequence[int]) -> list[int | None]:
    """Shares of `total` in proportion to the weights, whole numbers that add up to it."""
    if total is None:
        return [None] * len(weights)
    whole = sum(weights) or 1
    edges = [0]
    for weight in weights:
        edges.append(edges[-1] + weight)
    marks = [total * edge // whole for edge in edges]
    return [right - left for left, right in itertools.pairwise(marks)]


def _blame(item: Item, error: Exception) -> Exception:
    if isinstance(error, Rejected):
        return UnusableText(str(error), code=error.code, field=error.field, index=item.index)
    return ModelFault(
        f"the model broke on text {item.index} ({type(error).__name__}); the job is tried again"
    )
