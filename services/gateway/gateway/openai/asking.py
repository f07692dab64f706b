"""One request of the OpenAI API as a job: what every surface translates its body into."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from penstock_contracts.requests import Params, Priority
from penstock_contracts.surface import Surface
from penstock_kit.tasks import TaskCatalog

from gateway.checking import CheckedJob
from gateway.models import SubmitBody

__all__ = ["Ask", "Follow", "checked_job", "priority_of_tier", "surface_value", "tier_of"]

_NO_PARAMS = Params()
_TIERS = {"flex": "flex", "priority": "priority", "fast": "priority"}
_LANES = {"flex": Priority.LOW, "priority": Priority.HIGH}


class Follow(Enum):
    """What the caller stays for."""

    NOTHING = "nothing"
    """The job is accepted: that is the answer."""
    END = "end"
    """One answer, once the job is over."""
    EVENTS = "events"
    """Every event as it happens."""
    WHOLE = "whole"
    """The same from the first event on, also of a job that runs or is over already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A checked request, ready to become a job.

    Attributes:
        route: the path; scope of Idempotency-Keys.
        prefix: of the object's id.
        input: by the kind of the task.
        params: sampling parameters by the names of `Params`, checked.
        follow: what the caller stays for.
        metadata: the caller's own, for the job's record.
        is_streamed: its text is worth events of its own; else there is only the end.
        is_kept: the object can be fetched again, so the job runs on when its caller leaves.
    """

    route: str
    prefix: str
    task: str
    input: dict[str, Any]
    model: str | None
    params: dict[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.DEFAULT
    conversation: str | None = None
    metadata: dict[str, str] | None = None
    deadline_s: float | None = None
    surface: Surface | None = None
    follow: Follow = Follow.END
    is_streamed: bool = True
    is_kept: bool = False


def checked_job(ask: Ask, tasks: TaskCatalog) -> CheckedJob:
    """The job as the submit path takes it. Nothing is validated again: surfaces have done so."""
    task_type = tasks.get(ask.task)
    assert task_type is not None, "surfaces name tasks that every deployment has"
    body = SubmitBody.model_construct(
        task=ask.task,
        input=None,
        model=ask.model,
        params=_NO_PARAMS,
        priority=ask.priority,
        conversation=ask.conversation,
        deadline_s=ask.deadline_s,
        metadata=ask.metadata,
    )
    raw: dict[str, Any] = {"model": ask.model, "conversation": ask.conversation}
    if ask.params:
        raw["params"] = ask.params
    if ask.priority is not Priority.DEFAULT:
        raw["priority"] = ask.priority.value
    if ask.metadata:
        raw["metadata"] = ask.metadata
    if not ask.is_streamed:
        raw["streamed"] = False
    if ask.surface is not None:
        raw["surface"] = surface_value(ask.surface)
    return CheckedJob(body, raw, ask.input, task_type)


def surface_value(surface: Surface) -> dict[str, Any]:
    """The surface as JSON, without defaults; `model_dump` takes longer than all else of the job."""
    value: dict[str, Any] = {"kind": surface.kind}
    if surface.echo:
        value["echo"] = surface.echo
    if surface.first_item:
        value["first_item"] = surface.first_item
    if surface.kept:
        value["kept"] = True
    if not surface.told:
        value["told"] = False
    return value


def tier_of(service_tier: str | None) -> str:
    """The tier that a job runs in, as answers tell it; `fast` is another name of `priority`."""
    return _TIERS.get(service_tier or "", "default")


def priority_of_tier(tier: str) -> Priority:
    """`flex` waits behind everybody, `priority` goes first, all others are as usual."""
    return _LANES.get(tier, Priority.DEFAULT)
