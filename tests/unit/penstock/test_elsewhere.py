"""Commands beside a deployment that is no stack of theirs: they go by options and variables."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from penstock.cli import dlq, status, topics
from penstock.cli.app import make_app
from penstock.cli.target import Target
from penstock.errors import ExitStatus, WrongUse
from penstock.operating.topics import GroupLag
from penstock_kit.kafka.admin import TopicReport, TopicsUnavailable
from penstock_kit.settings import KafkaSettings
from typer.testing import CliRunner, Result


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_DEV__DATA", str(tmp_path / "nothing"))


@pytest.fixture
def _lag(monkeypatch: pytest.MonkeyPatch) -> None:
    async def group_lag(settings: KafkaSettings, groups: object) -> list[GroupLag]:
        assert (settings.bootstrap, bool(groups)) == ("kafka:9092", True)
        return [
            GroupLag("llm-worker", "ai.chat.requests.v1", 7),
            GroupLag("recorder", "ai.jobs.events.v1", 0),
        ]

    monkeypatch.setattr(status, "group_lag", group_lag)


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(make_app(), list(arguments))


@pytest.mark.usefixtures("_lag")
@pytest.mark.parametrize("is_option", [True, False])
def test_status_where_kafka_is_named_shows_what_waits(
    monkeypatch: pytest.MonkeyPatch, *, is_option: bool
) -> None:
    if not is_option:
        monkeypatch.setenv("PENSTOCK_KAFKA__BOOTSTRAP", "kafka:9092")
    option = ("--kafka", "kafka:9092") if is_option else ()

    shown, told = _run("status", *option), _run("status", *option, "--json")

    assert (shown.exit_code, told.exit_code) == (0, 0), shown.output
    assert "7  ai.chat.requests.v1  (group llm-worker)" in shown.stdout
    assert "recorder" not in shown.stdout
    assert json.loads(told.stdout)["lag"][0] == {
        "group": "llm-worker",
        "topic": "ai.chat.requests.v1",
        "lag": 7,
    }


def test_status_where_the_named_kafka_is_away_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def group_lag(*_: object) -> list[GroupLag]:
        raise TopicsUnavailable("no Kafka broker answers; start it")

    monkeypatch.setattr(status, "group_lag", group_lag)

    result = _run("status", "--kafka", "kafka:9092")

    assert result.exit_code == ExitStatus.UNREACHABLE
    assert "no Kafka broker answers" in result.stderr


def test_status_without_anything_to_show_is_refused() -> None:
    result = _run("status", "--kafka", "kafka:9092", "--no-lag")

    assert result.exit_code == ExitStatus.WRONG_USE


@pytest.mark.parametrize(
    ("option", "variable", "replication"),
    [((), None, None), ((), "3", 3), (("--replication", "2"), "3", 2)],
)
def test_topics_apply_takes_the_copies_of_the_option_the_variable_or_the_brokers(
    monkeypatch: pytest.MonkeyPatch,
    option: tuple[str, ...],
    variable: str | None,
    replication: int | None,
) -> None:
    asked: list[int | None] = []

    async def ensure_topics(settings: KafkaSettings, *_: object, **__: object) -> TopicReport:
        asked.append(settings.replication)
        return TopicReport(created=(), existing=(), differences=())

    monkeypatch.setattr(topics, "ensure_topics", ensure_topics)
    monkeypatch.setenv("PENSTOCK_KAFKA__BOOTSTRAP", "kafka:9092")
    if variable is not None:
        monkeypatch.setenv("PENSTOCK_KAFKA__REPLICATION", variable)

    result = _run("topics", "apply", *option)

    assert result.exit_code == 0, result.output
    assert asked == [replication]


@pytest.mark.parametrize("text", ["", "nope", "[]", '{"security.protocol":', '{"a": 1}'])
def test_security_that_cannot_be_read_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("PENSTOCK_KAFKA__BOOTSTRAP", "kafka:9092")
    monkeypatch.setenv("PENSTOCK_KAFKA__SECURITY", text)

    result = _run("topics", "list")

    assert result.exit_code == ExitStatus.WRONG_USE
    assert "PENSTOCK_KAFKA__SECURITY" in result.stderr


def test_security_that_the_client_refuses_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_KAFKA__SECURITY", '{"security.protocol": "nope"}')

    result = _run("topics", "list", "--kafka", "kafka:9092")

    assert result.exit_code == ExitStatus.WRONG_USE
    assert "PENSTOCK_KAFKA__SECURITY cannot be used" in result.stderr


@pytest.mark.parametrize("url", ["foo", "redis://h:port/0"])
def test_address_of_redis_that_is_none_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PENSTOCK_REDIS__URL", url)

    with pytest.raises(WrongUse, match="PENSTOCK_REDIS__URL: this is no address of Redis"):
        Target().redis  # noqa: B018 - reading it is the act


@pytest.mark.parametrize("text", ["[443", "[0.5]"])
def test_ports_of_webhooks_that_cannot_be_read_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("PENSTOCK_WEBHOOKS__PORTS", text)

    with pytest.raises(WrongUse, match="PENSTOCK_WEBHOOKS__PORTS"):
        Target().webhooks  # noqa: B018 - the same


def test_letter_that_cannot_be_saved_is_refused_with_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def find(_: object) -> tuple[Any, None]:
        return SimpleNamespace(record=SimpleNamespace(value=b"x")), None

    monkeypatch.setattr(dlq, "box_of", lambda _: SimpleNamespace(find=find))
    path = tmp_path / "nowhere" / "letter"

    result = _run("dlq", "show", "0/1", "--save", str(path))

    assert result.exit_code == ExitStatus.WRONG_USE
    assert str(path) in result.stderr.replace("\n", "")
