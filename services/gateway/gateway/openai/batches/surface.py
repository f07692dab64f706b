"""`/v1/batches` as a table."""

from __future__ import annotations

from typing import Any, Final

from gateway.openai.batches.body import BatchBody
from gateway.openai.batches.views import BatchListView, BatchView
from gateway.openai.files.surface import PAGE_ERRORS
from gateway.openai.strict import BODY_ERRORS
from gateway.route_specs import ALWAYS, AUTH_ERRORS, IDEMPOTENCY_KEY, Good, RouteSpec, header, query

__all__ = ["BATCHES_SURFACE"]

_BATCH: Final[dict[str, Any]] = {
    "name": "batch_id",
    "in": "path",
    "required": True,
    "description": "Id of the batch.",
    "schema": {"type": "string", "pattern": "^batch_[0-9a-f]{42}$"},
}
_ONE: Final = (*AUTH_ERRORS, "batch_not_found", "table_unavailable", *ALWAYS)
_NUMBER: Final = {"type": "string", "pattern": "^[0-9]{1,9}$"}

BATCHES_SURFACE: Final = (
    RouteSpec(
        method="POST",
        path="/v1/batches",
        handler="create_batch",
        summary="Create a batch",
        about=(
            "Runs every line of an uploaded file as a job of low priority. Answers once the log "
            "has the batch; the file is looked at afterwards, see `errors`."
        ),
        body=BatchBody,
        parameters=(IDEMPOTENCY_KEY,),
        good=(Good(200, "The batch.", BatchView, headers=("Idempotent-Replayed",)),),
        errors=(
            *AUTH_ERRORS,
            "malformed_json",
            "body_stalled",
            "body_too_large",
            "unsupported_media_type",
            "invalid_parameter",
            *BODY_ERRORS,
            "idempotency_key_reused",
            "gateway_busy",
            "broker_busy",
            "acceptance_unknown",
            "table_unavailable",
            *ALWAYS,
        ),
    ),
    RouteSpec(
        method="GET",
        path="/v1/batches",
        handler="list_batches",
        summary="List batches",
        about="Newest first. A user's key sees that user's batches, a tenant's key all.",
        parameters=(
            query("after", "Id of the last batch of the page before.", {"type": "string"}),
            query("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 100}),
        ),
        good=(Good(200, "A page of batches.", BatchListView),),
        errors=PAGE_ERRORS,
    ),
    RouteSpec(
        method="GET",
        path="/v1/batches/{batch_id}",
        handler="get_batch",
        summary="Look at a batch",
        about="Where it stands; `request_counts` is at most a second old while it runs.",
        parameters=(_BATCH,),
        good=(Good(200, "The batch.", BatchView),),
        errors=_ONE,
    ),
    RouteSpec(
        method="POST",
        path="/v1/batches/{batch_id}/cancel",
        handler="cancel_batch",
        summary="Cancel a batch",
        about="Lines that have ended are kept, lines under way are called back.",
        parameters=(_BATCH,),
        good=(Good(200, "The batch, being cancelled.", BatchView),),
        errors=(*_ONE, "batch_is_over", "broker_busy", "acceptance_unknown"),
    ),
    RouteSpec(
        method="GET",
        path="/v1/batches/{batch_id}/events",
        handler="follow_batch",
        summary="Follow a batch",
        about=(
            "Every line as it ends and every state, as server-sent events; `id` is "
            "`sequence_number`. Ends with the batch. Events are kept for seven days."
        ),
        parameters=(
            _BATCH,
            query("starting_after", "Number of the last event that the reader has.", _NUMBER),
            header("Last-Event-ID", "The same, as browsers send it.", _NUMBER),
        ),
        good=(Good(200, "The events.", None, media_type="text/event-stream"),),
        errors=(*_ONE, "invalid_parameter"),
    ),
)
