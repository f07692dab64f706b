"""What llm-worker does with a job: the rest of the handler is the kit's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock_contracts.parts import Usage
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.under_way import Ending, JobUnderWay

from llm_worker.billing import Bill
from llm_worker.prompts import Prompt, PromptReader, before_turn
from llm_worker.running import JobRun, RunnerParts

__all__ = ["LlmWork"]


class LlmWork:
    """Implements the kit's `Work`: a prompt in, an answer out."""

    def __init__(self, prompts: PromptReader, parts: RunnerParts) -> None:
        self._prompts = prompts
        self._parts = parts

    async def prepare(self, request: VerifiedRequest) -> Prompt:
        """The prompt of a job; see the port."""
        return await self._prompts.read(request)

    def used(self, plan: Mapping[str, Any]) -> Usage:
        """What earlier deliveries used; see the port."""
        return Bill(self._parts.prices, plan.get("bill")).usage()

    async def run(self, job: JobUnderWay, asked: Prompt) -> Ending:
        """Call the model; see the port."""
        request = job.request
        history = None
        if request.request.conversation is not None:
            history = before_turn(
                await self._parts.conversations.load(request.scope, request.request.conversation),
                request.job,
                asked,
            )
        return await JobRun(self._parts, job, asked, history=history).run()
