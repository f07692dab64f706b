"""Task types as configuration: what `tasks.yaml` may say, and the built-in catalogue."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Self

import yaml
from penstock_contracts.models import Name
from penstock_contracts.requests import Params, Priority, TaskKind
from penstock_contracts.retries import MAX_DELAY_MS
from penstock_contracts.topics import Topic, all_topics, request_topic
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from penstock_kit.errors import Fatal
from penstock_kit.lanes.backoff import Backoff
from penstock_kit.settings import Seconds

__all__ = ["BadTasksFile", "RetryPolicy", "TaskCatalog", "TaskType", "load_tasks"]

_WORKERS = {
    TaskKind.CHAT: "llm-worker",
    TaskKind.GENERATE: "llm-worker",
    TaskKind.EMBED: "embedder",
    TaskKind.INGEST: "embedder",
    TaskKind.SEARCH: "embedder",
    TaskKind.CONVERSATION: "llm-worker",
}


_MOST_JITTER = 10.0
_LONGEST_KEPT = timedelta(milliseconds=MAX_DELAY_MS)
"""A record's longest wait and attempt together: topics keep it for seven days, and a day of outage
must not lose it."""


class BadTasksFile(Fatal):
    """tasks.yaml cannot be used; the message names the entry and the fix."""


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RetryPolicy(_Config):
    """How often and how far apart a failing job is tried."""

    attempts: int = Field(default=5, ge=1, le=50, description="Tries in all, the first included.")
    base: Seconds = Field(default=timedelta(seconds=5), description="Pause before the second try.")
    factor: float = Field(default=2.0, ge=1, description="By how much each pause grows.")
    cap: Seconds = Field(
        default=timedelta(seconds=300),
        description="Longest pause of our own choice; a provider may ask for up to an hour.",
    )
    jitter: tuple[float, float] = Field(
        default=(0.5, 1.5), description="Least and most that chance makes of a pause."
    )

    @property
    def backoff(self) -> Backoff:
        """The pauses as a rule."""
        return Backoff(base=self.base, factor=self.factor, cap=self.cap, jitter=self.jitter)

    @model_validator(mode="after")
    def _jitter_fits(self) -> Self:
        least, most = self.jitter
        if not 0 <= least <= most <= _MOST_JITTER:
            raise ValueError(f"jitter must be two numbers, 0 <= least <= most <= {_MOST_JITTER:g}")
        return self


class TaskType(_Config):
    """One task type: a named use of a kind.

    `models` is the chain: the first that is named is used, later ones after a permanent failure of
    the earlier.
    Empty: the deployment's default model.
    """

    kind: TaskKind = Field(description="What is done, and by which worker.")
    topic: str | None = Field(
        default=None, description="Request topic; default ai.<task>.requests.v1."
    )
    group: str | None = Field(
        default=None, description="Consumer group; default the worker of the kind."
    )
    models: list[str] = Field(
        default_factory=list,
        description="Chain of models: the next is tried when one fails for good; empty: the"
        " deployment's default.",
    )
    params: Params = Field(
        default=Params(), description="Parameters of a job that names none; see `POST /v1/jobs`."
    )
    template: Name | None = Field(default=None, description="Fixed template of a generate task.")
    timeout: Seconds = Field(
        default=timedelta(minutes=10),
        description="Longest single attempt; with `retry.cap` at most 6 days.",
    )
    retry: RetryPolicy = Field(
        default=RetryPolicy(), description="How often and how far apart a failing job is tried."
    )
    allow_at_most_once: bool = Field(
        default=True, description="Whether jobs may ask for `charge: at_most_once`."
    )

    @model_validator(mode="after")
    def _template_fits(self) -> Self:
        if self.template is not None and self.kind is not TaskKind.GENERATE:
            raise ValueError("template is for tasks of kind generate")
        return self

    @model_validator(mode="after")
    def _topics_keep_it(self) -> Self:
        if self.timeout > _LONGEST_KEPT - self.retry.cap:
            raise ValueError(
                f"timeout and retry.cap together must not be above {_LONGEST_KEPT.days} days, else"
                " the topics, which keep a record for seven, forget a job that waits or runs;"
                " choose less"
            )
        return self


class _File(_Config):
    tasks: dict[Name, TaskType]


class TaskCatalog:
    """All task types of a deployment, by name."""

    def __init__(self, tasks: dict[str, TaskType]) -> None:
        self._tasks = tasks

    @classmethod
    def builtin(cls) -> TaskCatalog:
        """chat, generate, embed, ingest, search and conversation."""
        return cls(_with_builtin({}))

    def get(self, task: str) -> TaskType | None:
        """The task type of that name, or None."""
        return self._tasks.get(task)

    @property
    def names(self) -> tuple[str, ...]:
        """All task names, sorted."""
        return tuple(sorted(self._tasks))

    def first_model(self, task: str) -> str | None:
        """The model that a request of the task gets if it names none; None: the worker's default.

        An unknown task has none.
        """
        found = self._tasks.get(task)
        return found.models[0] if found is not None and found.models else None

    def base_topic(self, task: str) -> str:
        """The request topic of a known task, without priority suffix."""
        return self._tasks[task].topic or f"ai.{task}.requests.v1"

    def group(self, task: str) -> str:
        """The consumer group of a known task."""
        return self._tasks[task].group or _WORKERS[self._tasks[task].kind]

    def tasks_of_group(self, group: str) -> tuple[str, ...]:
        """The tasks that a consumer group runs."""
        return tuple(name for name in self.names if self.group(name) == group)

    def request_topics(self) -> tuple[str, ...]:
        """The request topics of all tasks, each with its priorities."""
        bases = dict.fromkeys(self.base_topic(name) for name in self.names)
        return tuple(request_topic(base, priority) for base in bases for priority in Priority)

    def topics(self) -> tuple[Topic, ...]:
        """Every topic of the deployment."""
        return all_topics((name, self.base_topic(name), self.group(name)) for name in self.names)


def load_tasks(path: Path | None) -> TaskCatalog:
    """Built-in tasks, overlaid by the file's.

    Raises:
        BadTasksFile: unreadable, no YAML, or an entry that makes no sense.
    """
    if path is None:
        return TaskCatalog.builtin()
    try:
        content = yaml.safe_load(path.read_text())
        file = _File.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise BadTasksFile(
            f"cannot use the tasks file {str(path)!r}: {error}; see docs/configuration.md"
        ) from error
    return TaskCatalog(_with_builtin(file.tasks))


def _with_builtin(tasks: dict[str, TaskType]) -> dict[str, TaskType]:
    """The tasks of the file, and those of the built-in ones that it does not name."""
    every = {kind.value: TaskType(kind=kind) for kind in TaskKind} | tasks
    if TaskKind.CONVERSATION.value not in tasks:
        # Changes of a conversation wait for its turns: they go the same way, by the same worker.
        chat = every[TaskKind.CHAT.value]
        every[TaskKind.CONVERSATION.value] = TaskType(
            kind=TaskKind.CONVERSATION,
            topic=chat.topic or f"ai.{TaskKind.CHAT.value}.requests.v1",
            group=chat.group,
        )
    return every
