"""Batches as OpenAI shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from penstock_contracts.batches import BatchState, BatchStatus
from pydantic import BaseModel

from gateway.openai.batches.desk import BatchPage

__all__ = ["BatchListView", "BatchView", "batch_view", "page_view"]


class BatchErrorView(BaseModel):
    """Why the input file cannot be used."""

    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrorsView(BaseModel):
    """All reasons, as far as they were gathered."""

    object: Literal["list"]
    data: list[BatchErrorView]


class BatchCountsView(BaseModel):
    """Lines by how they stand."""

    total: int
    completed: int
    failed: int


class BatchView(BaseModel):
    """A batch."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrorsView | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCountsView
    usage: dict[str, Any]
    metadata: dict[str, str] | None


class BatchListView(BaseModel):
    """One page of batches."""

    object: Literal["list"]
    data: list[BatchView]
    first_id: str | None
    last_id: str | None
    has_more: bool


def batch_view(state: BatchState) -> dict[str, Any]:
    """One batch."""
    request = state.request
    return {
        "id": request.id,
        "object": "batch",
        "endpoint": request.endpoint,
        "model": state.model,
        "errors": _errors(state),
        "input_file_id": request.input_file_id,
        "completion_window": request.completion_window,
        "status": state.status.value,
        "output_file_id": state.output_file_id,
        "error_file_id": state.error_file_id,
        "created_at": _unix(request.created_at),
        "in_progress_at": _unix(state.in_progress_at),
        "expires_at": _unix(request.expires_at),
        "finalizing_at": _unix(state.finalizing_at),
        "completed_at": _unix(state.completed_at),
        "failed_at": _unix(state.failed_at),
        "expired_at": _unix(state.expired_at),
        "cancelling_at": _unix(state.cancelling_at),
        "cancelled_at": _unix(state.cancelled_at),
        "request_counts": state.counts.model_dump(),
        "usage": _usage(state),
        "metadata": request.metadata,
    }


def page_view(page: BatchPage) -> dict[str, Any]:
    """A page of batches."""
    batches = [batch_view(state) for state in page.batches]
    return {
        "object": "list",
        "data": batches,
        "first_id": batches[0]["id"] if batches else None,
        "last_id": batches[-1]["id"] if batches else None,
        "has_more": page.has_more,
    }


def _errors(state: BatchState) -> dict[str, Any] | None:
    if not state.errors:
        return None
    return {"object": "list", "data": [problem.model_dump() for problem in state.errors]}


def _usage(state: BatchState) -> dict[str, Any]:
    usage = state.usage
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
