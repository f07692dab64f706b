from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from penstock_contracts.requests import TaskKind
from penstock_kit.tasks import BadTasksFile, TaskCatalog, load_tasks


def test_builtin_tasks_are_one_per_kind() -> None:
    catalog = load_tasks(None)

    assert catalog.names == ("chat", "conversation", "embed", "generate", "ingest", "search")
    assert catalog.base_topic("chat") == "ai.chat.requests.v1"
    assert catalog.base_topic("conversation") == "ai.chat.requests.v1"
    assert catalog.tasks_of_group("llm-worker") == ("chat", "conversation", "generate")
    assert catalog.tasks_of_group("embedder") == ("embed", "ingest", "search")
    assert catalog.get("paint") is None


def test_file_adds_and_overlays(tmp_path: Path) -> None:
    file = tmp_path / "tasks.yaml"
    file.write_text(
        """
tasks:
  summarize: {kind: generate, template: summary, timeout: 2m, retry: {attempts: 2, base: 500ms}}
  chat: {kind: chat, models: [small], topic: team.chat.v1, group: team}
"""
    )

    catalog = load_tasks(file)

    task = catalog.get("summarize")
    assert task is not None
    assert (task.kind, task.timeout) == (TaskKind.GENERATE, timedelta(minutes=2))
    assert task.retry.base == timedelta(milliseconds=500)
    assert catalog.group("summarize") == "llm-worker"
    assert catalog.base_topic("chat") == "team.chat.v1"
    assert catalog.tasks_of_group("team") == ("chat", "conversation")
    names = {topic.name for topic in catalog.topics()}
    assert {"ai.summarize.requests.v1.high", "team.chat.v1.low", "ai.dead.v1"} <= names


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "tasks: []",
        "tasks: {x: {}}",
        "tasks: {x: {kind: paint}}",
        "tasks: {X: {kind: chat}}",
        "tasks: {x: {kind: chat, colour: red}}",
        "tasks: {x: {kind: chat, template: t}}",
        "tasks: {x: {kind: chat, timeout: 0}}",
        "tasks: {x: {kind: chat, retry: {attempts: 0}}}",
        "other: 1",
        "tasks: {x: !!python/object:os.system {}}",
        ": :",
        "a: b: c",
        "\x00",
    ],
)
def test_file_that_makes_no_sense_refuses_the_start_and_is_named(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "tasks.yaml"
    file.write_text(content)

    with pytest.raises(BadTasksFile, match=r"tasks\.yaml"):
        load_tasks(file)


@pytest.mark.parametrize(
    "task", ["timeout: 7d", "timeout: 3d, retry: {cap: 4d}", "retry: {cap: 999999999d}"]
)
def test_task_that_outlives_its_topics_refuses_the_start_and_says_why(
    tmp_path: Path, task: str
) -> None:
    file = tmp_path / "tasks.yaml"
    file.write_text(f"tasks: {{slow: {{kind: chat, {task}}}}}")

    with pytest.raises(BadTasksFile, match=r"(?s)slow.*timeout and retry\.cap .* 6 days"):
        load_tasks(file)


def test_task_that_takes_days_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "tasks.yaml"
    file.write_text("tasks: {slow: {kind: chat, timeout: 5d, retry: {cap: 1d}}}")

    assert "slow" in load_tasks(file).names


def test_file_that_is_missing_or_no_text_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfa")

    for name in ("absent", "binary"):
        with pytest.raises(BadTasksFile, match=name):
            load_tasks(tmp_path / name)


def test_catalog_is_the_builtin_one_without_a_file() -> None:
    assert TaskCatalog.builtin().names == load_tasks(None).names
