"""What llm-worker does with a job: the rest of the handler is the kit's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock_contracts.conversations import ConversationState
from penstock_contracts.parts import JobError, Usage
from penstock_contracts.requests import TaskKind
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.under_way import Ending, JobUnderWay

from llm_worker.billing import Bill
from llm_worker.changing import CHANGE_TIME, Change, ChangeRun, read_change
from llm_worker.dialogue import before_job
from llm_worker.prompts import Prompt, PromptReader
from llm_worker.running import JobRun, RunnerParts

__all__ = ["LlmWork"]


class LlmWork:
    """Implements the kit's `Work`: a prompt in, an answer out; or a change of what was said."""

    def __init__(self, prompts: PromptReader, parts: RunnerParts) -> None:
        self._prompts = prompts
        self._parts = parts

    async def prepare(self, request: VerifiedRequest) -> Prompt | Change:
        """What a job asks for; see the port."""
        if request.kind is TaskKind.CONVERSATION:
            return read_change(request)
        return await self._prompts.read(request)

    def used(self, plan: Mapping[str, Any]) -> Usage:
        """What earlier deliveries used; see the port."""
        return Bill(self._parts.prices, plan.get("bill")).usage()

    async def run(self, job: JobUnderWay, asked: Prompt | Change) -> Ending:
        """Call the model, or change the conversation; see the port."""
        request = job.request
        history: ConversationState | None = None
        if request.request.conversation is not None:
            conversation = request.request.conversation
            history = await self._parts.conversations.load(request.scope, conversation)
        if isinstance(asked, Change):
            return await ChangeRun(self._parts, job, asked, history=history).run()
        if history is not None and history.is_deleted:
            await job.start(timeout=CHANGE_TIME, reason="redelivery")
            return await job.fail(_DELETED, usage=Usage())
        history = before_job(history, request.job, asked)
        return await JobRun(self._parts, job, asked, history=history).run()


_DELETED = JobError(
    type="invalid_request_error",
    code="conversation_not_found",
    message="the conversation was deleted; begin a new one",
    param="conversation",
)
