"""What answers about responses look like, for the OpenAPI document alone."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["DeletedResponseDocument", "InputItemsDocument", "ResponseDocument"]


class ResponseDocument(BaseModel):
    """A response; members that are not listed are given back as they were sent."""

    model_config = ConfigDict(title="Response", extra="allow")

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None


class DeletedResponseDocument(BaseModel):
    """A response whose content is gone."""

    model_config = ConfigDict(title="DeletedResponse")

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItemsDocument(BaseModel):
    """A page of input items."""

    model_config = ConfigDict(title="ResponseItemList")

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
