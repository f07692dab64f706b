from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest
from embedder.batching import Batcher, Share
from embedder.billing import Bill, NoPrices
from embedder.errors import ModelAway, ModelFault, UnusableText
from embedder.fake_model import FakeModel
from embedder.metrics import Metrics
from embedder.ports import Embedded, TokenizedText
from embedder.waiting import BatchPolicy, Urgency
from penstock_kit.clock import SystemClock
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.telemetry.metrics import Metrics as MetricsMaker


class ScriptedModel(FakeModel):
    """A model that waits on request, and fails on texts that are told."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.faults: dict[str, Exception] = {}
        self.shape: Callable[[Embedded], Embedded] = lambda embedded: embedded

    async def embed(
        self, batch: Sequence[TokenizedText], *, dimensions: int | None = None
    ) -> Embedded:
        self.batches.append([text.text for text in batch])
        await self.gate.wait()
        for text in batch:
            if text.text in self.faults:
                raise self.faults[text.text]
        return self.shape(await super().embed(batch, dimensions=dimensions))


@pytest.fixture
async def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
async def batcher(model: ScriptedModel) -> AsyncIterator[Batcher]:
    made = Batcher(
        model,
        policy=BatchPolicy(max_tokens=8, max_texts=4),
        clock=SystemClock(),
        metrics=Metrics(MetricsMaker()),
    )
    await made.start()
    yield made
    await made.stop()


async def embed(
    batcher: Batcher, model: FakeModel, *texts: str, urgency: Urgency = Urgency.BULK
) -> np.ndarray:
    return await batcher.embed(
        await model.tokenize(texts), urgency=urgency, book=lambda _share: None
    )


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_embed_when_jobs_arrive_together_shares_batches_and_keeps_order(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.gate.clear()
    first = asyncio.create_task(embed(batcher, model, "one"))
    await settle()
    second = asyncio.create_task(embed(batcher, model, "a b", "c", "d e"))
    third = asyncio.create_task(embed(batcher, model, "f"))
    await settle()
    model.gate.set()
    await asyncio.gather(first, second, third)

    assert model.batches[0] == ["one"]
    assert {"c", "f"} <= set(model.batches[1])
    alone = await FakeModel().embed(await model.tokenize(["a b", "c", "d e"]))
    assert np.allclose(second.result(), alone.vectors)


async def test_embed_when_a_text_breaks_the_model_fails_its_job_only(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.gate.clear()
    blocker = asyncio.create_task(embed(batcher, model, "x"))
    await settle()
    model.faults["bad"] = RuntimeError("boom")
    good = asyncio.create_task(embed(batcher, model, "good", "fine"))
    poisoned = asyncio.create_task(embed(batcher, model, "ok", "bad"))
    await settle()
    model.gate.set()

    assert (await good).shape[0] == 2
    with pytest.raises(ModelFault, match="text 1"):
        await poisoned
    await blocker


async def test_embed_when_the_model_refuses_a_text_names_its_index(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.faults["bad"] = Rejected("too odd", code="model_refused")

    with pytest.raises(UnusableText) as refusal:
        await embed(batcher, model, "good", "bad")

    assert refusal.value.index == 1
    assert refusal.value.code == "model_refused"


async def test_embed_when_the_model_is_away_fails_every_job_of_the_batch_at_once(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.faults["a"] = ModelAway("down")

    with pytest.raises(ModelAway):
        await embed(batcher, model, "a", "b")

    assert len(model.batches) == 1


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
async def test_embed_when_a_vector_is_no_vector_fails_instead_of_storing_it(
    batcher: Batcher, model: ScriptedModel, value: float
) -> None:
    def spoil(embedded: Embedded) -> Embedded:
        from embedder.vectors import unit_rows  # noqa: PLC0415 - only here

        rows = embedded.vectors.copy()
        rows[0] = value
        return Embedded(unit_rows(rows))

    model.shape = spoil

    with pytest.raises(UnusableText) as refusal:
        await embed(batcher, model, "only")

    assert refusal.value.code == "no_vector"


async def test_embed_when_a_query_arrives_runs_before_waiting_bulk(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.gate.clear()
    bulk = asyncio.create_task(embed(batcher, model, *[f"w{n} x y z" for n in range(6)]))
    await settle()
    query = asyncio.create_task(embed(batcher, model, "query", urgency=Urgency.QUERY))
    await settle()
    model.gate.set()
    await asyncio.gather(bulk, query)

    assert model.batches[1] == ["query"]


async def test_embed_when_cancelled_withdraws_what_waits(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.gate.clear()
    blocker = asyncio.create_task(embed(batcher, model, "x"))
    await settle()
    gone = asyncio.create_task(embed(batcher, model, "gone"))
    await settle()

    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    model.gate.set()
    await blocker
    await embed(batcher, model, "last")

    assert model.batches == [["x"], ["last"]]


async def test_embed_when_the_bill_covers_several_jobs_divides_it_exactly(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.shape = lambda embedded: Embedded(embedded.vectors, billed_tokens=7)
    model.gate.clear()
    blocker = asyncio.create_task(embed(batcher, model, "x"))
    await settle()
    shares: list[Share] = []
    jobs = [
        asyncio.create_task(
            batcher.embed(await model.tokenize([text]), urgency=Urgency.BULK, book=shares.append)
        )
        for text in ("a b", "c d")
    ]
    await settle()
    model.gate.set()
    await asyncio.gather(blocker, *jobs)
    first, second = shares

    assert (first.billed_tokens or 0) + (second.billed_tokens or 0) == 7
    assert not first.is_exact


async def test_embed_when_a_later_text_fails_books_what_was_billed_before(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.shape = lambda embedded: Embedded(embedded.vectors, billed_tokens=11)
    model.faults["bad"] = ModelAway("down")
    bill = Bill(NoPrices())

    texts = await model.tokenize(["a b c d e f g h", "bad"])
    with pytest.raises(ModelAway):
        await batcher.embed(texts, urgency=Urgency.BULK, book=bill.add)

    assert (bill.usage().input_tokens, bill.usage().estimated) == (11, False)


async def test_embed_when_cancelled_in_a_call_books_an_estimate_of_it(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.gate.clear()
    bill = Bill(NoPrices())
    texts = await model.tokenize(["a b c"])
    job = asyncio.create_task(batcher.embed(texts, urgency=Urgency.BULK, book=bill.add))
    await settle()

    job.cancel()
    await asyncio.gather(job, return_exceptions=True)

    assert (bill.usage().input_tokens, bill.usage().estimated) == (3, True)


async def test_embed_when_no_call_came_through_books_nothing(
    batcher: Batcher, model: ScriptedModel
) -> None:
    model.faults["a"] = ModelAway("down")
    bill = Bill(NoPrices())

    with pytest.raises(ModelAway):
        await batcher.embed(await model.tokenize(["a"]), urgency=Urgency.BULK, book=bill.add)

    assert bill.state is None


async def test_stop_when_texts_wait_tells_their_jobs_to_retry(model: ScriptedModel) -> None:
    batcher = Batcher(
        model, policy=BatchPolicy(), clock=SystemClock(), metrics=Metrics(MetricsMaker())
    )
    await batcher.start()
    model.gate.clear()
    jobs = [asyncio.create_task(embed(batcher, model, text)) for text in ("a", "b")]
    await settle()

    await batcher.stop()
    await batcher.stop()

    for job in jobs:
        with pytest.raises(Retryable):
            await job


async def test_embed_when_a_waiting_job_is_cancelled_lets_the_next_one_in(
    model: ScriptedModel,
) -> None:
    """Room that a cancel makes is told as well, else a job waits before an idle model."""
    batcher = Batcher(
        model,
        policy=BatchPolicy(max_waiting_texts=1),
        clock=SystemClock(),
        metrics=Metrics(MetricsMaker()),
    )
    await batcher.start()
    model.gate.clear()
    running = asyncio.create_task(embed(batcher, model, "a"))
    await settle()
    waiting = asyncio.create_task(embed(batcher, model, "b"))
    await settle()
    outside = asyncio.create_task(embed(batcher, model, "c"))
    await settle()

    waiting.cancel()
    await settle()
    model.gate.set()
    await asyncio.gather(running, outside)

    assert model.batches == [["a"], ["c"]]
    await batcher.stop()
