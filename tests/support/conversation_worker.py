"""The worker's part in tests of `/v1/conversations`: changes from the log, by the real rules."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

from llm_worker.changing import read_change
from llm_worker.dialogue import changed_state
from penstock_contracts.events import Completed, Failed, Started
from penstock_contracts.ids import JobIds
from penstock_contracts.parts import ChatOutput, JobError, Usage
from penstock_kit.errors import Rejected
from penstock_kit.intake import Intake
from penstock_kit.kafka.ports import Record
from penstock_kit.tasks import TaskCatalog

from tests.support.gateway import ID_SECRET, GatewayBench

__all__ = ["ConversationWorker"]


class ConversationWorker:
    """Takes one change after another; used as a context it does so by itself."""

    def __init__(self, bench: GatewayBench) -> None:
        self._bench = bench
        self._intake = Intake(
            tasks=TaskCatalog.builtin(), ids=JobIds(ID_SECRET.encode()), secrets=None
        )
        self._done = 0
        self._task: asyncio.Task[None] | None = None
        self.jobs: list[str] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _work(self) -> None:
        while True:
            records = self._bench.kafka.records("ai.chat.requests.v1")
            for record in records[self._done :]:
                self._run(record)
            self._done = len(records)
            await asyncio.sleep(0)

    def _run(self, record: Record) -> None:
        request = self._intake.verify(record)
        self.jobs.append(request.job)
        view, change = self._bench.conversations, read_change(request)
        place = {"job": request.job, "attempt": 1, "at": self._bench.clock.now()}
        key = (request.tenant, change.conversation)
        self._bench.feed(Started(**place, seq=1, task=request.task, worker="w"))
        view.is_complete = True
        try:
            if not change.is_a_look:
                now = self._bench.clock.now()
                view.states[key] = changed_state(
                    request, change.asked, view.states.get(key), keep=50, now=now
                )
        except Rejected as error:
            told = JobError(type="invalid_request_error", code=error.code, message=str(error))
            self._bench.feed(Failed(**place, seq=2, error=told, usage=Usage()))
            return
        output = ChatOutput(choices=[])
        self._bench.feed(Completed(**place, seq=2, output=output, usage=Usage()))
