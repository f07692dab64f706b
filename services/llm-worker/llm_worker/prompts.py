"""From a verified request to what is asked of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock_contracts.codec import decode_json, first_problem
from penstock_contracts.errors import MalformedJson
from penstock_contracts.requests import (
    ChatInput,
    ChatMessage,
    GenerateInput,
    TaskKind,
)
from penstock_kit.blobs.store import BlobStore
from penstock_kit.errors import Rejected
from penstock_kit.intake import VerifiedRequest
from pydantic import ValidationError

from llm_worker.formats import check_schema, instruction
from llm_worker.providers_file import Providers
from llm_worker.templates import Templates

__all__ = ["Prompt", "PromptReader"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a job asks a model.

    Attributes:
        messages: this turn's own messages, without the conversation's history.
        options: sampling parameters that are set.
        chain: models to try, in order.
        generate: the input of a generate task; None for chat.
        first_item: index of the first message that the conversation is to keep; those before are
            instructions for this turn alone.
    """

    messages: tuple[ChatMessage, ...]
    options: dict[str, Any]
    chain: tuple[str, ...]
    generate: GenerateInput | None
    first_item: int = 0


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
            first_item=_first_item(request, len(messages)),
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


def _first_item(request: VerifiedRequest, messages: int) -> int:
    surface = request.request.surface
    if surface is None or request.request.conversation is None:
        return 0
    return min(surface.first_item, messages)


def _options(request: VerifiedRequest) -> dict[str, Any]:
    return {
        **request.task_type.params.model_dump(exclude_none=True),
        **request.request.params.model_dump(exclude_none=True),
    }
