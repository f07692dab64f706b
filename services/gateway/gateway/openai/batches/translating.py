"""What lines stand for, by endpoint: the same translation, the same object as live."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from penstock_kit.auth.principal import Principal

from gateway.errors import ApiError
from gateway.openai.asking import Ask
from gateway.openai.batches.checking import LineJob, TellAnswer
from gateway.openai.chat.asked import chat_ask
from gateway.openai.chat.shapes import chat_object
from gateway.openai.completions.asked import completion_ask
from gateway.openai.completions.shapes import completion_object
from gateway.openai.embeddings.asked import embedding_ask, field_of_input
from gateway.openai.embeddings.shapes import embedding_list
from gateway.openai.ending import Ending
from gateway.openai.known_models import KnownModels
from gateway.openai.object_ids import object_id
from gateway.openai.responses.asked import ResponseAsks
from gateway.openai.responses.events import outcome_of
from gateway.openai.responses.objects import ResponseFacts, output_of_choice, response_object
from gateway.openai.responses.results import first_choice
from gateway.openai.running import Came

__all__ = [
    "EndpointTranslators",
    "Understand",
    "retell_responses",
    "understand_chat",
    "understand_completions",
    "understand_embeddings",
    "understand_responses",
]

Understand = Callable[[Principal, dict[str, Any]], Awaitable[LineJob]]


class EndpointTranslators:
    """Implements `LineTranslator`."""

    def __init__(
        self,
        by_endpoint: Mapping[str, Understand],
        *,
        retold: Mapping[str, Understand] | None = None,
    ) -> None:
        """`retold`: of endpoints whose bodies lead to others, what understands them alone."""
        self._by_endpoint = by_endpoint
        self._retold = {**by_endpoint, **(retold or {})}

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where lines may go."""
        return tuple(self._by_endpoint)

    async def understand(
        self, endpoint: str, principal: Principal, body: dict[str, Any]
    ) -> LineJob:
        """See `LineTranslator.understand`."""
        understand = self._by_endpoint.get(endpoint)
        if understand is None:
            message = f"Unsupported value: batches of '{endpoint}' are not run here."
            raise ApiError("unsupported_value", message, param="endpoint")
        return await understand(principal, body)

    async def retell(self, endpoint: str, principal: Principal, body: dict[str, Any]) -> TellAnswer:
        """See `LineTranslator.retell`."""
        return (await self._retold[endpoint](principal, body)).tell


def understand_chat(models: KnownModels) -> Understand:
    """Lines of `/v1/chat/completions`."""

    async def understand(principal: Principal, body: dict[str, Any]) -> LineJob:
        del principal
        asked = chat_ask(body, models)
        return LineJob(asked.ask, _telling(chat_object, asked.ask, asked.style))

    return understand


def understand_completions(models: KnownModels) -> Understand:
    """Lines of `/v1/completions`."""

    async def understand(principal: Principal, body: dict[str, Any]) -> LineJob:
        del principal
        asked = completion_ask(body, models)
        return LineJob(asked.ask, _telling(completion_object, asked.ask, asked.style))

    return understand


def understand_embeddings(models: KnownModels) -> Understand:
    """Lines of `/v1/embeddings`."""

    async def understand(principal: Principal, body: dict[str, Any]) -> LineJob:
        del principal
        asked = embedding_ask(body, models)

        def tell(job: str, created_at: datetime, ending: Ending) -> dict[str, Any]:
            del job, created_at
            output = ending.completed_output(field_of_input)
            return dict(embedding_list(output, ending.usage, as_base64=asked.as_base64))

        return LineJob(asked.ask, tell)

    return understand


def understand_responses(asks: ResponseAsks) -> Understand:
    """Lines of `/v1/responses`."""

    async def understand(principal: Principal, body: dict[str, Any]) -> LineJob:
        if body.get("conversation") is not None:
            message = (
                "Unsupported value: turns of a conversation have an order, lines of a batch have "
                "none; leave 'conversation' out, or use 'previous_response_id'."
            )
            raise ApiError("unsupported_value", message, param="conversation")
        asked = await asks.read(Came(principal=principal, body=body, key=None))
        return _response_job(asked.ask, asked.echo)

    return understand


def retell_responses(asks: ResponseAsks) -> Understand:
    """The same of lines that have become jobs: their answers echo what is asked, not the input."""

    async def understand(principal: Principal, body: dict[str, Any]) -> LineJob:
        # Any text in place of it that every format takes: JSON mode wants to see its name.
        alone = {**body, "input": "json"}
        previous = alone.pop("previous_response_id", None)
        asked = await asks.read(Came(principal=principal, body=alone, key=None))
        named = {} if previous is None else {"previous_response_id": previous}
        return _response_job(asked.ask, {**asked.echo, **named})

    return understand


def _response_job(ask: Ask, echo: dict[str, Any]) -> LineJob:
    def tell(job: str, created_at: datetime, ending: Ending) -> dict[str, Any]:
        facts = ResponseFacts(job=job, created_at=int(created_at.timestamp()), echo=echo)
        choice = first_choice(ending.completed_output())
        outcome = outcome_of(ending, items=output_of_choice(job, choice))
        return response_object(facts, outcome)

    return LineJob(_untold(ask), tell)


def _telling(build: Callable[..., dict[str, Any]], ask: Ask, style: object) -> TellAnswer:
    def tell(job: str, created_at: datetime, ending: Ending) -> dict[str, Any]:
        return build(
            ending.completed_output(),
            object_id=object_id(ask.prefix, job),
            created=int(created_at.timestamp()),
            model=ending.model or ask.model,
            usage=ending.usage,
            style=style,
        )

    return tell


def _untold(ask: Ask) -> Ask:
    """Webhooks tell the end of the batch, not of each of its lines."""
    if ask.surface is None:
        return ask
    return replace(ask, surface=ask.surface.model_copy(update={"told": False}))
