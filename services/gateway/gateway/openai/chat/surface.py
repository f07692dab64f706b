"""`/v1/chat/completions` as a table."""

from __future__ import annotations

from typing import Final

from gateway.openai.chat.body import ChatBody
from gateway.openai.chat.documents import ChatCompletionBody
from gateway.openai.route_parts import CREATE_ERRORS, CREATED_HEADERS
from gateway.route_specs import CANCEL_AFTER, IDEMPOTENCY_KEY, Good, RouteSpec

__all__ = ["CHAT_SURFACE"]

CHAT_SURFACE: Final = (
    RouteSpec(
        method="POST",
        path="/v1/chat/completions",
        handler="create_chat_completion",
        summary="Create a chat completion",
        about=(
            "OpenAI's chat completions over a durable job, which `x-penstock-job` names. With "
            "`stream` the answer is `text/event-stream` and ends with `data: [DONE]`; a comment "
            "line keeps silent streams alive. docs/openai.md tells what is taken and refused."
        ),
        body=ChatBody,
        parameters=(IDEMPOTENCY_KEY, CANCEL_AFTER),
        good=(
            Good(
                200,
                "The completion, or with `stream` its chunks.",
                ChatCompletionBody,
                headers=CREATED_HEADERS,
                also_streams=True,
            ),
        ),
        errors=CREATE_ERRORS,
    ),
)
