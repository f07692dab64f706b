"""Changes of what was said: they run between the turns of a conversation, without any call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from penstock_contracts.codec import first_problem
from penstock_contracts.conversations import ConversationState
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import ChatOutput, JobError, Usage
from penstock_contracts.requests import ConversationInput
from penstock_kit.errors import Rejected
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.under_way import Ended, Ending, JobUnderWay
from pydantic import ValidationError

from llm_worker.dialogue import changed_state
from llm_worker.running import RunnerParts

__all__ = ["CHANGE_TIME", "Change", "ChangeRun", "read_change"]

CHANGE_TIME = timedelta(seconds=30)
"""Longer than any change takes."""
_LOOK = ConversationInput()
_NOTHING_SAID = ChatOutput(choices=[])
"""What a change answers: no reader of outputs has to know another kind."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a conversation."""

    conversation: str
    asked: ConversationInput

    @property
    def is_a_look(self) -> bool:
        """Whether nothing is to change: the caller wants the view to be whole."""
        return self.asked == _LOOK


def read_change(request: VerifiedRequest) -> Change:
    """The change that a job asks for.

    Raises:
        Rejected: it names no conversation, or its input has another shape.
    """
    conversation = request.request.conversation
    if conversation is None:
        message = "a conversation task needs the id of its conversation"
        raise Rejected(message, code="invalid_input", field="conversation")
    if request.request.input is None:
        message = "the input of a conversation task has to be in the event"
        raise Rejected(message, code="invalid_input", field="input_ref")
    try:
        return Change(conversation, ConversationInput.model_validate(request.request.input))
    except ValidationError as error:
        problem = first_problem(error)
        field = f"input.{problem.field}" if problem.field else "input"
        raise Rejected(f"input.{problem}", code="invalid_input", field=field) from None


class ChangeRun:
    """Runs one change. Run again after a crash it changes nothing more."""

    def __init__(
        self,
        parts: RunnerParts,
        job: JobUnderWay,
        change: Change,
        *,
        history: ConversationState | None,
    ) -> None:
        self._parts = parts
        self._job = job
        self._change = change
        self._history = history

    async def run(self) -> Ending:
        """Append the changed state, then say that it is done.

        Raises:
            Retryable, Busy: Kafka or Redis is away; the record is kept.
        """
        job, history = self._job, self._history
        await job.start(timeout=CHANGE_TIME, reason="redelivery")
        is_done = history is not None and history.job == job.request.job
        try:
            if not (is_done or self._change.is_a_look):
                await self._apply()
        except Rejected as refused:
            return await job.fail(_refusal(refused), usage=Usage())
        await job.insist(lambda: job.emitter.completed(_NOTHING_SAID, usage=Usage()))
        return Ended(JobStatus.COMPLETED)

    async def _apply(self) -> None:
        history, request = self._history, self._job.request
        if history is not None and history.is_deleted:
            message = "the conversation was deleted; begin a new one"
            raise Rejected(message, code="conversation_not_found", field="conversation")
        state = changed_state(
            request,
            self._change.asked,
            history,
            keep=self._parts.kept_messages(self._change.conversation),
            now=self._parts.clock.now(),
        )
        await self._job.insist(lambda: self._parts.conversations.append(request.scope, state))


def _refusal(error: Rejected) -> JobError:
    return JobError(
        type="invalid_request_error", code=error.code, message=str(error), param=error.field
    )
