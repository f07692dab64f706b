"""From the bytes of a body to a job that can run: strict, and quoting nothing of what was sent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn

from penstock_contracts.codec import decode_json, first_problem
from penstock_contracts.errors import MalformedJson, SchemaMismatch
from penstock_contracts.requests import INPUT_MODELS, Charge, TaskKind
from penstock_kit.tasks import TaskCatalog, TaskType
from pydantic import ValidationError

from gateway.errors import ApiError
from gateway.models import SubmitBody

__all__ = ["CheckedJob", "JobChecker"]

_MODEL_KINDS = (TaskKind.CHAT, TaskKind.GENERATE)
"""Kinds whose models are listed in the providers file; the embedder knows its own."""
_MAX_NAMED = 20
"""Names that an error message lists at most."""
_MAX_FIELD_CHARS = 120
"""Unknown fields are named by the caller: a name of a megabyte must not come back as a message."""


@dataclass(frozen=True, slots=True)
class CheckedJob:
    """A body that may become a job.

    Attributes:
        body: everything but the input, validated.
        raw: the decoded object as it came; parts of it go into the log without another dump.
        input: the input by the kind's model, shorthand spelled out.
    """

    body: SubmitBody
    raw: dict[str, Any]
    input: dict[str, Any]
    task_type: TaskType


class JobChecker:
    """Checks bodies against tasks, models and contracts. No I/O, no state.

    `models` None: any model name may be tried, the worker decides.
    """

    def __init__(self, *, tasks: TaskCatalog, models: Collection[str] | None) -> None:
        self._tasks = tasks
        self._models = models

    def check(self, raw: bytes) -> CheckedJob:
        """Decode and validate.

        Raises:
            ApiError: malformed_json, invalid_request, unknown_task, unknown_model or
                charge_not_allowed.
        """
        value = _decode(raw)
        try:
            body = SubmitBody.model_validate(value)
        except ValidationError as error:
            _refuse(first_problem(error))
        task_type = self._task_type(body.task)
        self._check_model(body, task_type)
        if body.charge is Charge.AT_MOST_ONCE and not task_type.allow_at_most_once:
            message = f"task {body.task!r} does not allow charge at_most_once; leave charge out"
            raise ApiError("charge_not_allowed", message, param="charge")
        return CheckedJob(body, value, _check_input(body.input, task_type), task_type)

    def _task_type(self, task: str) -> TaskType:
        task_type = self._tasks.get(task)
        if task_type is None:
            message = f"task {task!r} is unknown; known tasks: {_listed(self._tasks.names)}"
            raise ApiError("unknown_task", message, param="task")
        return task_type

    def _check_model(self, body: SubmitBody, task_type: TaskType) -> None:
        if body.model is None or self._models is None or task_type.kind not in _MODEL_KINDS:
            return
        if body.model not in self._models and body.model not in task_type.models:
            known = _listed(sorted({*self._models, *task_type.models}))
            message = f"model {body.model!r} is unknown here; known models: {known}"
            raise ApiError("unknown_model", message, param="model")


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        value = decode_json(raw)
    except MalformedJson as error:
        message = f"{error}; send one JSON object in UTF-8"
        raise ApiError("malformed_json", message) from None
    if not isinstance(value, dict):
        raise ApiError("invalid_request", "the body must be a JSON object with task and input")
    return value


def _check_input(value: Any, task_type: TaskType) -> dict[str, Any]:
    if isinstance(value, str):
        value = _spelled_out(value, task_type)
    if not isinstance(value, dict):
        message = "input: must be an object, or a string as shorthand"
        raise ApiError("invalid_request", message, param="input")
    try:
        INPUT_MODELS[task_type.kind].model_validate(value)
    except ValidationError as error:
        # A generate task with a fixed template takes variables alone.
        if _takes_variables_alone(value, task_type):
            return _check_input({**value, "template": task_type.template}, task_type)
        _refuse(first_problem(error), prefix="input")
    return value


def _takes_variables_alone(value: dict[str, Any], task_type: TaskType) -> bool:
    return (
        task_type.template is not None
        and value.get("template") is None
        and value.get("prompt") is None
    )


def _spelled_out(text: str, task_type: TaskType) -> dict[str, Any]:
    match task_type.kind:
        case TaskKind.CHAT:
            return {"messages": [{"role": "user", "content": text}]}
        case TaskKind.GENERATE:
            return {"prompt": text}
        case TaskKind.EMBED:
            return {"texts": [text]}
        case TaskKind.INGEST | TaskKind.SEARCH | TaskKind.CONVERSATION:
            message = f"input: a {task_type.kind} task needs an object, it has no shorthand"
            raise ApiError("invalid_request", message, param="input")


def _refuse(problem: SchemaMismatch, *, prefix: str | None = None) -> NoReturn:
    field = problem.field
    text = str(problem).removeprefix(f"{field or 'the body'}: ")
    where = ".".join(part for part in (prefix, field) if part) or None
    if where is not None and len(where) > _MAX_FIELD_CHARS:
        where = where[:_MAX_FIELD_CHARS] + "…"
    message = f"{where or 'the body'}: {text[:500]}"
    raise ApiError("invalid_request", message, param=where) from None


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:_MAX_NAMED]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
