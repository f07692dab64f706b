from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

import pytest
from penstock_kit.settings import BadSettings, Group, PlatformSettings, load_settings
from pydantic import Field, model_validator

SECRET = "s" * 32
GOOD = {
    "PENSTOCK_KAFKA__BOOTSTRAP": "127.0.0.1:9092",
    "PENSTOCK_REDIS__URL": "redis://:hunter2@127.0.0.1:6379/0",
    "PENSTOCK_BLOBS__URL": "file:///tmp/blobs",
    "PENSTOCK_AUTH__ID_SECRET": SECRET,
    "PENSTOCK_ADMIN__PORT": "0",
}


class OwnGroup(Group):
    port: int = Field(gt=0)
    names: list[str] = Field(default_factory=list)


class OwnSettings(PlatformSettings):
    gateway: OwnGroup | None = None


class WilfulGroup(Group):
    either: str | None = None

    @model_validator(mode="after")
    def _given(self) -> Self:
        raise ValueError("set PENSTOCK_DEV__EITHER")


class WilfulSettings(PlatformSettings):
    """A group that has no required member must be there all the same."""

    dev: WilfulGroup


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal() -> str:
    with pytest.raises(BadSettings) as refused:
        load_settings(OwnSettings)
    return str(refused.value)


@pytest.mark.usefixtures("env")
def test_least_that_is_needed_is_enough() -> None:
    settings = load_settings(OwnSettings)

    assert settings.kafka.bootstrap == "127.0.0.1:9092"
    assert settings.drain_timeout == timedelta(seconds=25)
    assert settings.auth.verify_producers


@pytest.mark.usefixtures("env")
def test_secrets_do_not_show() -> None:
    shown = repr(load_settings(OwnSettings))

    assert SECRET not in shown
    assert "hunter2" not in shown


def test_missing_settings_are_all_named_as_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)

    text = refusal()

    assert all(f"{name} is missing" in text for name in GOOD)


@pytest.mark.parametrize(
    "name",
    ["PENSTOCK_KAFKA__BOOTSTRP", "PENSTOCK_KAFAK__BOOTSTRAP", "PENSTOCK_X"],
)
def test_unknown_variable_is_refused_by_name(env: pytest.MonkeyPatch, name: str) -> None:
    env.setenv(name, "x")

    assert f"{name} is not a setting" in refusal()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PENSTOCK_NOTIFIER__PORT", "1"),
        ("PENSTOCK_LLM_WORKER__ANYTHING", "1"),
        ("PENSTOCK_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("PENSTOCK_GATEWAY_SERVICE_PORT_HTTP", "80"),
        ("PENSTOCK_GATEWAY_PORT", "tcp://10.0.0.1:80"),
        ("PENSTOCK_GATEWAY_PORT_80_TCP", "tcp://10.0.0.1:80"),
    ],
)
def test_variables_of_sisters_and_of_kubernetes_are_passed_over(
    env: pytest.MonkeyPatch, name: str, value: str
) -> None:
    env.setenv(name, value)

    load_settings(OwnSettings)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"PENSTOCK_DRAIN_TIMEOUT": "30"}, "PENSTOCK_DRAIN_TIMEOUT must be below PENSTOCK_GRACE"),
        (
            {"PENSTOCK_KAFKA__DELIVERY_TIMEOUT": "25"},
            "PENSTOCK_KAFKA__DELIVERY_TIMEOUT must be below PENSTOCK_DRAIN_TIMEOUT",
        ),
        (
            {"PENSTOCK_KAFKA__SESSION_TIMEOUT": "300"},
            "PENSTOCK_KAFKA__SESSION_TIMEOUT must be below PENSTOCK_KAFKA__MAX_POLL_INTERVAL",
        ),
        (
            {"PENSTOCK_BLOBS__INLINE_LIMIT_BYTES": "1048576"},
            "PENSTOCK_BLOBS__INLINE_LIMIT_BYTES must be at most 983052",
        ),
        (
            {"PENSTOCK_BLOBS__MAX_BYTES": "1000"},
            "PENSTOCK_BLOBS__INLINE_LIMIT_BYTES must not be above PENSTOCK_BLOBS__MAX_BYTES",
        ),
        ({"PENSTOCK_REDIS__LEASE": "12s"}, "PENSTOCK_REDIS__LEASE must be below 12 s"),
        ({"PENSTOCK_REDIS__LEASE": "60s"}, "PENSTOCK_REDIS__LEASE must be below 12 s"),
        ({"PENSTOCK_AUTH__ID_SECRET": "short"}, "openssl rand -hex 32"),
        ({"PENSTOCK_ADMIN__PORT": "http"}, "PENSTOCK_ADMIN__PORT"),
        ({"PENSTOCK_ADMIN__PORT": "70000"}, "PENSTOCK_ADMIN__PORT"),
        ({"PENSTOCK_DRAIN_TIMEOUT": "-1"}, "PENSTOCK_DRAIN_TIMEOUT"),
        ({"PENSTOCK_LOG__LEVEL": "loud"}, "PENSTOCK_LOG__LEVEL"),
        ({"PENSTOCK_AUTH__JWT": "[{"}, "JSON"),
        ({"PENSTOCK_REDIS__URL": "foo"}, "PENSTOCK_REDIS__URL: this is no address of Redis"),
        ({"PENSTOCK_REDIS__URL": ""}, "PENSTOCK_REDIS__URL: this is no address of Redis"),
        ({"PENSTOCK_REDIS__URL": "redis://h:port/0"}, "PENSTOCK_REDIS__URL: this is no address"),
        ({"PENSTOCK_REDIS__URL": "redis://h:70000/0"}, "PENSTOCK_REDIS__URL: this is no address"),
        ({"PENSTOCK_REDIS__URL": "http://h:6379"}, "PENSTOCK_REDIS__URL: this is no address"),
        ({"PENSTOCK_KAFKA__SESSION_TIMEOUT": "1ms"}, "PENSTOCK_KAFKA__SESSION_TIMEOUT: "),
        ({"PENSTOCK_KAFKA__SESSION_TIMEOUT": "2h"}, "PENSTOCK_KAFKA__SESSION_TIMEOUT: "),
        ({"PENSTOCK_KAFKA__MAX_POLL_INTERVAL": "999999d"}, "PENSTOCK_KAFKA__MAX_POLL_INTERVAL: "),
        ({"PENSTOCK_KAFKA__REPLICATION": "0"}, "PENSTOCK_KAFKA__REPLICATION: "),
        ({"PENSTOCK_GATEWAY__PORT": "0"}, "PENSTOCK_GATEWAY__PORT"),
        ({"PENSTOCK_GATEWAY__NAMES": '["a"]'}, "PENSTOCK_GATEWAY__PORT is missing"),
    ],
)
def test_setting_that_cannot_work_is_refused_with_its_name(
    env: pytest.MonkeyPatch, changes: dict[str, str], sentence: str
) -> None:
    for name, value in changes.items():
        env.setenv(name, value)

    text = refusal()

    assert sentence in text
    assert SECRET not in text


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis://:p%2Fw%40@redis.example.com:6379/0?health_check_interval=5",
        "rediss://user:pw@[::1]:6380",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_address_of_redis_is_taken(env: pytest.MonkeyPatch, url: str) -> None:
    env.setenv("PENSTOCK_REDIS__URL", url)

    assert load_settings(OwnSettings).redis.url.get_secret_value() == url


def test_password_in_an_address_that_cannot_be_read_is_not_told(env: pytest.MonkeyPatch) -> None:
    env.setenv("PENSTOCK_REDIS__URL", "redis://:hun/ter2@h:6379/0")

    assert "hun" not in refusal()


@pytest.mark.usefixtures("env")
def test_missing_group_without_a_required_member_is_refused_by_name() -> None:
    with pytest.raises(BadSettings, match="PENSTOCK_DEV is missing"):
        load_settings(WilfulSettings)


def test_all_problems_are_told_at_once(env: pytest.MonkeyPatch) -> None:
    env.setenv("PENSTOCK_X", "1")
    env.setenv("PENSTOCK_LOG__LEVEL", "loud")
    env.delenv("PENSTOCK_REDIS__URL")

    text = refusal()

    assert text.count("\n  - ") == 3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20", 20), ("20s", 20), ("2.5 s", 2.5), ("18000ms", 18), ("0.4m", 24), ("PT20S", 20)],
)
def test_durations_are_written_as_people_write_them(
    env: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    env.setenv("PENSTOCK_KAFKA__DELIVERY_TIMEOUT", "1s")
    env.setenv("PENSTOCK_DRAIN_TIMEOUT", text)

    assert load_settings(OwnSettings).drain_timeout == timedelta(seconds=seconds)


def test_nested_values_overlay_defaults(env: pytest.MonkeyPatch) -> None:
    env.setenv("PENSTOCK_KAFKA__SECURITY", '{"sasl.password": "hunter2"}')
    env.setenv("PENSTOCK_LOG__FORMAT", "console")

    settings: Any = load_settings(OwnSettings)

    assert settings.kafka.security["sasl.password"].get_secret_value() == "hunter2"
    assert (settings.log.format, settings.log.level) == ("console", "info")
