"""`/v1/responses` as a table."""

from __future__ import annotations

from typing import Final

from gateway.openai.responses.body import ResponseBody
from gateway.openai.responses.documents import (
    DeletedResponseDocument,
    InputItemsDocument,
    ResponseDocument,
)
from gateway.openai.route_parts import CREATE_ERRORS, CREATED_HEADERS
from gateway.route_specs import (
    ALWAYS,
    AUTH_ERRORS,
    CANCEL_AFTER,
    IDEMPOTENCY_KEY,
    Good,
    RouteSpec,
    header,
    query,
)

__all__ = ["RESPONSES_SURFACE"]

_ID: Final = {
    "name": "response_id",
    "in": "path",
    "required": True,
    "description": "Id of the response: that of its job, with `resp_` for `job_`.",
    "schema": {"type": "string", "pattern": "^resp_[0-9a-f]{32}([0-9a-f]{10})?$"},
}
_NUMBER: Final = {"type": "string", "pattern": "^[0-9]{1,12}$"}
_FLAG: Final = {"type": "string", "enum": ["true", "false"]}
_FOUND_ERRORS: Final = (
    *AUTH_ERRORS,
    "response_not_found",
    "table_unavailable",
    "blobs_unavailable",
    "result_gone",
    *ALWAYS,
)
_QUERY_ERRORS: Final = ("unknown_parameter", "invalid_value", "unsupported_value")

RESPONSES_SURFACE: Final = (
    RouteSpec(
        method="POST",
        path="/v1/responses",
        handler="create_response",
        summary="Create a response",
        about=(
            "OpenAI's Responses API over a durable job, which `x-penstock-job` names. A response "
            "runs to its end whether its caller stays or not. With `background` the answer comes "
            "at once; `Prefer: wait=N` waits for its end, at most N seconds. With `stream` it is "
            "`text/event-stream`, which GET goes on with after any `sequence_number`."
        ),
        body=ResponseBody,
        parameters=(
            IDEMPOTENCY_KEY,
            CANCEL_AFTER,
            header("Prefer", "`wait=N`: seconds, 1 to 60."),
        ),
        good=(
            Good(
                200,
                "The response, or with `stream` its events.",
                ResponseDocument,
                headers=(*CREATED_HEADERS, "Preference-Applied", "openai-poll-after-ms"),
                also_streams=True,
            ),
        ),
        errors=(
            *CREATE_ERRORS,
            "previous_response_not_found",
            "previous_response_unusable",
            "item_not_found",
        ),
    ),
    RouteSpec(
        method="GET",
        path="/v1/responses/{response_id}",
        handler="get_response",
        summary="Get a response",
        about=(
            "As it stands; with `stream=true` its events from the first on, or after "
            "`starting_after`. Responses with `store: false` are not kept."
        ),
        parameters=(
            _ID,
            query("stream", "Follow it.", _FLAG),
            query("starting_after", "Last `sequence_number` that the reader has.", _NUMBER),
            header("Last-Event-ID", "The same, as SSE readers send it.", _NUMBER),
        ),
        good=(
            Good(
                200,
                "The response, or with `stream` its events.",
                ResponseDocument,
                headers=("x-penstock-job", "openai-poll-after-ms"),
                also_streams=True,
            ),
        ),
        errors=(*_FOUND_ERRORS, *_QUERY_ERRORS, "stream_position_gone"),
    ),
    RouteSpec(
        method="POST",
        path="/v1/responses/{response_id}/cancel",
        handler="cancel_response",
        summary="Cancel a response",
        about="Tokens used are booked. A response that is over comes back as it is.",
        parameters=(_ID,),
        good=(Good(200, "The response.", ResponseDocument, headers=("x-penstock-job",)),),
        errors=(*_FOUND_ERRORS, "response_not_cancellable", "broker_busy"),
    ),
    RouteSpec(
        method="DELETE",
        path="/v1/responses/{response_id}",
        handler="delete_response",
        summary="Delete a response",
        about="Its input, output and events are forgotten for good; if it runs, it is called back.",
        parameters=(_ID,),
        good=(Good(200, "It is gone.", DeletedResponseDocument, headers=("x-penstock-job",)),),
        errors=(*_FOUND_ERRORS, "broker_busy"),
    ),
    RouteSpec(
        method="GET",
        path="/v1/responses/{response_id}/input_items",
        handler="list_input_items",
        summary="List the input items of a response",
        about="What this turn was asked with; what came before it is with the responses before it.",
        parameters=(
            _ID,
            query("after", "Id of the last item of the page before.", {"type": "string"}),
            query(
                "limit",
                "Items per page.",
                {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            ),
            query("order", "`desc` is newest first.", {"type": "string", "enum": ["asc", "desc"]}),
        ),
        good=(Good(200, "A page of items.", InputItemsDocument, headers=("x-penstock-job",)),),
        errors=(*_FOUND_ERRORS, *_QUERY_ERRORS),
    ),
)
