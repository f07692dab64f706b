"""All message types by name: what generators, examples and gates walk over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from penstock_contracts.batches import BatchEvent, BatchRequest, BatchState
from penstock_contracts.control import ControlRecord
from penstock_contracts.conversations import ConversationState
from penstock_contracts.credentials import Credential
from penstock_contracts.events import EVENT_MODELS, Deleted
from penstock_contracts.files import FileRecord
from penstock_contracts.requests import INPUT_MODELS, JobRequest
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest
from penstock_contracts.webhooks import WebhookEvent, WebhookRecord

__all__ = [
    "CE_BATCH",
    "CE_BATCH_EVENT",
    "CE_BATCH_REQUEST",
    "CE_CONTROL",
    "CE_CONVERSATION",
    "CE_CREDENTIAL",
    "CE_DELETED",
    "CE_FILE",
    "CE_KEPT_REQUEST",
    "CE_REQUEST",
    "CE_STATE",
    "CE_WEBHOOK_ENDPOINT",
    "CE_WEBHOOK_EVENT",
    "MESSAGES",
    "Message",
    "ce_event_type",
]

CE_REQUEST: Final = "penstock.job.request.v1"
CE_STATE: Final = "penstock.job.state.v1"
CE_DELETED: Final = "penstock.job.deleted.v1"
CE_KEPT_REQUEST: Final = "penstock.job.kept_request.v1"
CE_CONVERSATION: Final = "penstock.conversation.v1"
CE_CONTROL: Final = "penstock.control.v1"
CE_CREDENTIAL: Final = "penstock.credential.v1"
CE_FILE: Final = "penstock.file.v1"
CE_BATCH_REQUEST: Final = "penstock.batch.request.v1"
CE_BATCH: Final = "penstock.batch.v1"
CE_BATCH_EVENT: Final = "penstock.batch.event.v1"
CE_WEBHOOK_ENDPOINT: Final = "penstock.webhook.endpoint.v1"
CE_WEBHOOK_EVENT: Final = "penstock.webhook.event.v1"


def ce_event_type(event: str) -> str:
    """The `ce_type` of a job event: `penstock.job.<event>.v1`."""
    return f"penstock.job.{event}.v1"


@dataclass(frozen=True, slots=True)
class Message:
    """A message type; `ce_type` is None for task inputs, strict ones refuse unknown fields."""

    name: str
    ce_type: str | None
    adapter: TypeAdapter[Any]
    is_strict: bool


def _messages() -> dict[str, Message]:
    found = [Message("request", CE_REQUEST, TypeAdapter(JobRequest), is_strict=True)]
    found += [
        Message(f"{kind}_input", None, TypeAdapter(model), is_strict=True)
        for kind, model in INPUT_MODELS.items()
    ]
    found += [
        Message(name, ce_event_type(name), TypeAdapter(model), is_strict=False)
        for name, model in EVENT_MODELS.items()
    ]
    found += [
        Message("deleted", CE_DELETED, TypeAdapter(Deleted), is_strict=False),
        Message("state", CE_STATE, TypeAdapter(JobState), is_strict=False),
        Message("kept_request", CE_KEPT_REQUEST, TypeAdapter(KeptRequest), is_strict=False),
        Message("conversation", CE_CONVERSATION, TypeAdapter(ConversationState), is_strict=False),
        Message("control", CE_CONTROL, TypeAdapter(ControlRecord), is_strict=False),
        Message("credential", CE_CREDENTIAL, TypeAdapter(Credential), is_strict=False),
        Message("file", CE_FILE, TypeAdapter(FileRecord), is_strict=False),
        Message("batch_request", CE_BATCH_REQUEST, TypeAdapter(BatchRequest), is_strict=True),
        Message("batch", CE_BATCH, TypeAdapter(BatchState), is_strict=False),
        Message("batch_event", CE_BATCH_EVENT, TypeAdapter(BatchEvent), is_strict=False),
        Message(
            "webhook_endpoint", CE_WEBHOOK_ENDPOINT, TypeAdapter(WebhookRecord), is_strict=False
        ),
        Message("webhook_event", CE_WEBHOOK_EVENT, TypeAdapter(WebhookEvent), is_strict=False),
    ]
    return {message.name: message for message in found}


MESSAGES: Final[dict[str, Message]] = _messages()
