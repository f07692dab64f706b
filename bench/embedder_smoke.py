"""Tokens per second of the embedder's batching beside a bare onnxruntime loop, on the same texts.

`python -m bench.embedder_smoke [--texts N] [--rounds N] [--threads N]` prints a row. Both sides do
the same work per text: tokenize, run, pool, normalise. Rounds are interleaved, and the order within
a round alternates, so that other load on the machine hits both alike. Bare loops:

    as it comes  batches of 32 in the texts' own order, padded to their longest
    sorted       the best that is known: sorted by length, at most 1024 padded tokens per batch

Ours is compared with the better one. It gets the texts as 64 jobs that arrive at once.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from embedder.batching import Batcher
from embedder.local_model import LocalModel
from embedder.metrics import Metrics
from embedder.ports import TokenizedText
from embedder.settings import ModelSettings, local_spec
from embedder.vectors import mean_pooled, unit_rows
from embedder.waiting import BatchPolicy, Urgency
from embedder.weights import find_model_file, read_tokenizer_json
from penstock_kit.clock import SystemClock
from penstock_kit.telemetry.metrics import Metrics as MetricsMaker

from bench.rows import Row, print_rows

JOBS = 64
TARGET = 0.9
VOCABULARY = ["water", "pipe", "turbine", "valve", "pressure", "flow", "river", "dam", "gate"]


def skewed_texts(count: int, rng: random.Random) -> list[str]:
    """Mostly short, some long: log-normal around 40 words, at most 380."""
    lengths = [min(380, max(3, int(rng.lognormvariate(3.4, 0.9)))) for _ in range(count)]
    return [" ".join(rng.choices(VOCABULARY, k=length)) for length in lengths]


class Bare:
    """A loop around onnxruntime, as one would write it without a service."""

    def __init__(self, threads: int) -> None:
        import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415 - it ships no types
        from tokenizers import Tokenizer  # noqa: PLC0415 - as the model does

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(find_model_file(None)), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_str(read_tokenizer_json(None))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def as_it_comes(self, texts: Sequence[str]) -> int:
        """Batches of 32; the tokens."""
        encoded = [one.ids for one in self._tokenizer.encode_batch(list(texts))]
        for start in range(0, len(encoded), 32):
            self._run(encoded[start : start + 32])
        return sum(map(len, encoded))

    def by_length(self, texts: Sequence[str]) -> int:
        """Sorted, a budget of padded tokens per batch; the tokens."""
        encoded = sorted((one.ids for one in self._tokenizer.encode_batch(list(texts))), key=len)
        batch: list[list[int]] = []
        for ids in encoded:
            if batch and (len(batch) + 1) * len(ids) > 1024:
                self._run(batch)
                batch = []
            batch.append(ids)
        self._run(batch)
        return sum(map(len, encoded))

    def _run(self, batch: Sequence[Sequence[int]]) -> None:
        ids = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(batch):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        unit_rows(mean_pooled(self._session.run(None, feed)[0], mask))


async def ours(model: LocalModel, batcher: Batcher, texts: Sequence[str]) -> int:
    """The same texts as many jobs; the tokens."""

    async def job(part: Sequence[str]) -> Sequence[TokenizedText]:
        tokenized = await model.tokenize(part)
        await batcher.embed(tokenized, urgency=Urgency.BULK, book=lambda _share: None)
        return tokenized

    done = await asyncio.gather(
        *(job(texts[number::JOBS]) for number in range(min(JOBS, len(texts))))
    )
    return sum(text.tokens for part in done for text in part)


def measure(*, texts: int = 512, rounds: int = 7, threads: int = 2) -> Row:
    """Ours beside the better of the bare loops."""
    return asyncio.run(_measure(count=texts, rounds=rounds, threads=threads))


async def _measure(*, count: int, rounds: int, threads: int) -> Row:
    texts = skewed_texts(count, random.Random(7))
    model = LocalModel(local_spec(ModelSettings()), threads=threads)
    await model.start()
    batcher = Batcher(
        model, policy=BatchPolicy(), clock=SystemClock(), metrics=Metrics(MetricsMaker())
    )
    await batcher.start()
    bare = Bare(threads)
    loops: dict[str, Callable[[Sequence[str]], int]] = {
        "as it comes": bare.as_it_comes,
        "sorted": bare.by_length,
    }
    speeds: dict[str, list[float]] = {"ours": [], **{name: [] for name in loops}}

    async def run_once(name: str) -> None:
        began = time.perf_counter()
        if name == "ours":
            tokens = await ours(model, batcher, texts)
        else:
            tokens = await asyncio.to_thread(loops[name], texts)
        speeds[name].append(tokens / (time.perf_counter() - began))

    for number in range(rounds + 1):
        for name in list(speeds) if number % 2 else reversed(list(speeds)):
            await run_once(name)
        if number == 0:
            for values in speeds.values():
                values.clear()  # the first round only warms up
    await batcher.stop()
    await model.stop()
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    best = max(loops, key=lambda name: middle[name])
    ratios = [mine / theirs for mine, theirs in zip(speeds["ours"], speeds[best], strict=True)]
    return Row(
        row="embedder tokens/s",
        unit="tokens/s",
        ours=middle["ours"],
        peer=middle[best],
        peer_name=f"bare onnxruntime loop, {best}",
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        target=">= 0.9",
        holds=statistics.median(ratios) >= TARGET,
        note=", ".join(f"{name} {value:.0f}" for name, value in middle.items()),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print_rows([measure(texts=options.texts, rounds=options.rounds, threads=options.threads)])


if __name__ == "__main__":
    main()
