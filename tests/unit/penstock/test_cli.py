from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import penstock
import penstock_kit
import pytest
from penstock.cli.app import COMMANDS, GROUPS, make_app
from penstock.errors import STATUSES, ExitStatus
from typer.testing import CliRunner, Result

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_DEV__DATA", str(tmp_path / "nothing"))
    for name in ("GATEWAY", "NOTIFIER", "API_KEY"):
        monkeypatch.delenv(f"PENSTOCK_CLIENT__{name}", raising=False)


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(make_app(), list(arguments))


def _lines() -> Iterator[tuple[str, ...]]:
    for name in COMMANDS:
        yield (name,)
    for group, (_, commands) in GROUPS.items():
        yield from ((group, command) for command in commands)


@pytest.mark.parametrize("words", list(_lines()), ids=" ".join)
def test_help_of_every_command_is_there(words: tuple[str, ...]) -> None:
    result = _run(*words, "--help")

    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


@pytest.mark.parametrize("words", list(_lines()), ids=" ".join)
def test_command_alone_in_its_app_is_still_called_by_its_name(words: tuple[str, ...]) -> None:
    """Only the module of the command that is called is loaded; typer must not take it for all."""
    result = CliRunner().invoke(make_app(words), [*words, "--help"])

    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "arguments", [["send", "hi"], ["tail"], ["status"], ["token", "list"], ["topics", "list"]]
)
def test_command_without_stack_says_how_to_get_one(arguments: list[str]) -> None:
    result = _run(*arguments)

    assert result.exit_code == ExitStatus.UNREACHABLE
    assert "penstock dev up" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["dlq", "list", "--since", "999999w"],
        ["dlq", "redrive", "--until", "999999w ago"],
        ["token", "create", "--tenant", "a", "--user", "b", "--expires-in", "999999w"],
        ["control", "pause", "--tenant", "a", "--for", "999999w"],
    ],
    ids=" ".join,
)
def test_time_beyond_the_calendar_is_wrong_use(arguments: list[str]) -> None:
    result = _run(*arguments, "--kafka", "127.0.0.1:1")

    assert result.exit_code == ExitStatus.WRONG_USE
    assert "leave the option out" in result.stderr


def test_error_with_json_is_one_document_on_standard_error() -> None:
    result = _run("send", "hi", "--json")

    error = json.loads(result.stderr)["error"]
    assert result.stdout == ""
    assert error["status"] == "unreachable"
    assert "penstock dev up" in error["fix"]


@pytest.mark.parametrize(
    ("replicas", "words"),
    [
        ("embedder=2", "--qdrant"),
        ("worker=2", "there is no service 'worker'"),
        ("gateway=many", "has no number"),
        ("gateway=99", "has no number"),
    ],
)
def test_dev_up_with_impossible_replicas_is_refused_with_a_sentence(
    replicas: str, words: str
) -> None:
    result = _run("dev", "up", "--replicas", replicas)

    assert result.exit_code == ExitStatus.WRONG_USE
    assert words in result.stderr


def test_dev_up_with_missing_providers_file_names_it() -> None:
    result = _run("dev", "up", "--providers", "nowhere.yaml")

    assert result.exit_code == ExitStatus.WRONG_USE
    assert "nowhere.yaml" in result.stderr


def test_dev_down_without_stack_is_no_error() -> None:
    result = _run("dev", "down", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"stopped": False}


@pytest.mark.parametrize("text", ["{broken", "@/no/such/file"])
def test_send_with_unusable_input_is_refused_before_anything_is_sent(text: str) -> None:
    result = _run("send", text, "--gateway", "http://127.0.0.1:1", "--key", "pk_x.y")

    assert result.exit_code == ExitStatus.WRONG_USE


@pytest.mark.parametrize("text", ["tomorrow", "5", "0d", "-3h", "1y"])
def test_token_with_unknown_duration_is_refused(text: str) -> None:
    result = _run("token", "create", "--tenant", "a", "--user", "b", "--expires-in", text)

    assert result.exit_code == ExitStatus.WRONG_USE


def test_exit_statuses_in_the_documentation_are_those_of_the_code() -> None:
    table = re.findall(r"^\| (\d+) \| (\w+) \|", DOCS.read_text(), flags=re.MULTILINE)

    assert {(int(number), name) for number, name in table} == {
        (status.value, status.name.lower()) for status in ExitStatus
    }


def test_errors_with_a_status_all_exist() -> None:
    """The table names classes; one that was renamed would silently become a 1."""
    modules = [
        importlib.import_module(info.name)
        for package in (penstock, penstock_kit)
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not info.name.endswith("__main__")
    ]
    known = {name for module in modules for name in vars(module)} | {"TimeoutError"}

    assert set(STATUSES) <= known
