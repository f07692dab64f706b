"""A worker's part in tests of the OpenAI API: what a job says, as events that the tail reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from penstock_contracts.events import Cancelled, Completed, DeltaEvent, Failed, Reset, Started
from penstock_contracts.parts import ChatOutput, Choice, Delta, JobError, TextDelta, Usage

from tests.support.gateway import GatewayBench

__all__ = ["Worker", "chunks_of", "texts_of"]


class Worker:
    """Tells of one job, event by event, places counted."""

    def __init__(self, bench: GatewayBench, job: str, *, attempt: int = 1) -> None:
        self._bench = bench
        self._job = job
        self._attempt = attempt
        self._seq = 0

    def starts(self, model: str = "m") -> None:
        self._bench.feed(Started(**self._next(), task="chat", worker="w", model=model))

    def resets(self) -> None:
        self._bench.feed(Reset(**self._next(), reason="retry"))

    def says(self, *deltas: Delta | str) -> None:
        pieces = [TextDelta(text=one) if isinstance(one, str) else one for one in deltas]
        self._bench.feed(DeltaEvent(**self._next(), deltas=pieces))

    def completes(
        self, *texts: str, choices: Sequence[Choice] | None = None, model: str = "m"
    ) -> None:
        told = choices or [
            Choice(index=index, text=text, finish_reason="stop") for index, text in enumerate(texts)
        ]
        usage = Usage(input_tokens=3, output_tokens=5)
        output = ChatOutput(choices=list(told))
        self._bench.feed(Completed(**self._next(), output=output, usage=usage, model=model))

    def fails(self, **error: Any) -> None:
        told = {"type": "server_error", "code": "provider_failed", "message": "gave up", **error}
        self._bench.feed(Failed(**self._next(), error=JobError(**told)))

    def is_cancelled(self) -> None:
        self._bench.feed(Cancelled(**self._next(), by="ann"))

    def _next(self) -> dict[str, Any]:
        self._seq += 1
        return {
            "job": self._job,
            "attempt": self._attempt,
            "seq": self._seq,
            "at": self._bench.clock.now(),
        }


def chunks_of(text: str) -> list[Any]:
    """The JSON of all `data:` lines but the end mark."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [orjson.loads(line) for line in lines if line != "[DONE]"]


def texts_of(text: str, choice: int = 0) -> list[str]:
    """The pieces of content of a choice, without the empty one that greets."""
    found = [
        one["delta"].get("content")
        for chunk in chunks_of(text)
        for one in chunk.get("choices", ())
        if one["index"] == choice
    ]
    return [piece for piece in found if piece]
