"""From a verified request to a call's messages, and from a turn to the conversation's state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from penstock_contracts.codec import decode_json, first_problem
from penstock_contracts.conversations import ConversationState
from penstock_contracts.errors import MalformedJson
from penstock_contracts.parts import Choice
from penstock_contracts.requests import (
    ChatInput,
    ChatMessage,
    FunctionCall,
    GenerateInput,
    MessageToolCall,
    TaskKind,
)
from penstock_kit.blobs.store import BlobStore
from penstock_kit.errors import Rejected
from penstock_kit.intake import VerifiedRequest
from pydantic import ValidationError

from llm_worker.assembly import estimated_tokens
from llm_worker.formats import check_schema, instruction
from llm_worker.providers_file import Model, Providers
from llm_worker.templates import Templates

__all__ = ["Prompt", "PromptReader", "before_turn", "messages_for", "next_state"]

_PINNED = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a job asks a model.

    Attributes:
        messages: this turn's own messages, without the conversation's history.
        options: sampling parameters that are set.
        chain: models to try, in order.
        generate: the input of a generate task; None for chat.
    """

    messages: tuple[ChatMessage, ...]
    options: dict[str, Any]
    chain: tuple[str, ...]
    generate: GenerateInput | None


class PromptReader:
    """Reads and checks inputs of `chat` and `generate` tasks."""

    def __init__(self, *, providers: Providers, templates: Templates, blobs: BlobStore) -> None:
        self._providers = providers
        self._templates = templates
        self._blobs = blobs

    async def read(self, request: VerifiedRequest) -> Prompt:
        """The prompt of a job.

        Raises:
            Rejected: `code` and `field` say what is wrong with the input.
            Retryable: the blob store is away.
        """
        raw = await self._input(request)
        generate: GenerateInput | None = None
        try:
            if request.kind is TaskKind.CHAT:
                messages = tuple(ChatInput.model_validate(raw).messages)
            else:
                generate = GenerateInput.model_validate(raw)
                check_schema(generate.json_schema)
                messages = self._generate_messages(generate, request)
        except ValidationError as error:
            problem = first_problem(error)
            field = f"input.{problem.field}" if problem.field else "input"
            raise Rejected(f"input.{problem}", code="invalid_input", field=field) from None
        return Prompt(
            messages=messages,
            options=_options(request),
            chain=self._chain(request),
            generate=generate,
        )

    async def _input(self, request: VerifiedRequest) -> Any:
        if request.request.input_ref is None:
            return request.request.input
        raw = await self._blobs.get(request.scope, request.request.input_ref)
        try:
            return decode_json(raw)
        except MalformedJson as error:
            raise Rejected(
                f"the input behind input_ref: {error}", code="malformed_json", field="input_ref"
            ) from error

    def _chain(self, request: VerifiedRequest) -> tuple[str, ...]:
        asked = request.request.model
        chain = self._providers.chain(asked, request.task_type.models)
        if chain is None:
            known = ", ".join(sorted(self._providers.models))
            wrong = repr(asked) if asked else f"of task {request.task!r}"
            raise Rejected(
                f"model {wrong} is not configured; known models: {known}",
                code="unknown_model",
                field="model",
            )
        return chain

    def _generate_messages(
        self, asked: GenerateInput, request: VerifiedRequest
    ) -> tuple[ChatMessage, ...]:
        fixed = request.task_type.template
        if fixed is not None and asked.template != fixed:
            raise Rejected(
                f"task {request.task!r} has the fixed template {fixed!r}; give template {fixed!r} "
                "and its variables",
                code="template_fixed",
                field="input.template",
            )
        if asked.template is not None:
            text = self._templates.fill(asked.template, asked.variables)
        else:
            text = asked.prompt or ""
            if asked.variables:
                raise Rejected(
                    "variables need a template; a prompt is used as it is",
                    code="unknown_variable",
                    field="input.variables",
                )
        told = instruction(asked)
        user = ChatMessage(role="user", content=text)
        return (ChatMessage(role="system", content=told), user) if told else (user,)


def messages_for(
    prompt: Prompt, history: ConversationState | None, model: Model
) -> list[dict[str, Any]]:
    """The messages of the call: instructions first, then what was said, then what is said now.

    Instructions of this turn replace those of earlier turns. History that would not fit into the
    model's context is left out, oldest first.
    """
    pinned, own = _parted(prompt.messages)
    old_pinned, said = _parted(history.messages if history else ())
    head = [_plain(message) for message in (pinned or old_pinned)]
    tail = [_plain(message) for message in own]
    past = [_plain(message) for message in said]
    if model.context_tokens is not None:
        room = model.context_tokens - estimated_tokens([*head, *tail])
        room -= int(prompt.options.get("max_tokens") or 0)
        while past and estimated_tokens(past) > room:
            past.pop(0)
    while past and past[0]["role"] != "user":
        # A tool's or the assistant's message makes no sense without the one that it answers.
        past.pop(0)
    return [*head, *past, *tail]


def next_state(
    request: VerifiedRequest,
    prompt: Prompt,
    history: ConversationState | None,
    choice: Choice,
    *,
    keep: int,
    now: datetime,
) -> ConversationState:
    """The conversation after this turn: instructions, and the last `keep` other messages."""
    assert request.request.conversation is not None
    pinned, own = _parted(prompt.messages)
    old_pinned, said = _parted(history.messages if history else ())
    return ConversationState(
        tenant=request.tenant,
        conversation=request.request.conversation,
        turn=history.turn + 1 if history else 1,
        job=request.job,
        messages=[*(pinned or old_pinned), *[*said, *own, _answer(choice)][-keep:]],
        at=now,
    )


def before_turn(
    history: ConversationState | None, job: str, prompt: Prompt
) -> ConversationState | None:
    """The conversation as it was before this job's turn.

    A job that is run again after its turn was written (a crash before its end was acknowledged)
    replaces the turn: it is taken out first.
    """
    if history is None or history.job != job:
        return history
    if history.turn == 1:
        return None
    _, own = _parted(prompt.messages)
    pinned, said = _parted(history.messages)
    kept = said[: max(len(said) - len(own) - 1, 0)]
    return history.model_copy(update={"turn": history.turn - 1, "messages": [*pinned, *kept]})


def _answer(choice: Choice) -> ChatMessage:
    calls = [
        MessageToolCall(
            id=call.id,
            function=FunctionCall(name=call.name or "unnamed", arguments=call.arguments),
        )
        for call in choice.tool_calls
    ]
    text = choice.text or choice.refusal or ""
    return ChatMessage(
        role="assistant", content=None if calls and not text else text, tool_calls=calls or None
    )


def _parted(messages: Sequence[ChatMessage]) -> tuple[list[ChatMessage], list[ChatMessage]]:
    pinned = [message for message in messages if message.role in _PINNED]
    return pinned, [message for message in messages if message.role not in _PINNED]


def _plain(message: ChatMessage) -> dict[str, Any]:
    return message.model_dump(exclude_none=True)


def _options(request: VerifiedRequest) -> dict[str, Any]:
    return {
        **request.task_type.params.model_dump(exclude_none=True),
        **request.request.params.model_dump(exclude_none=True),
    }
