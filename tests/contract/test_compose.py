"""docker-compose.yml is valid, and starts the services with settings that work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from llm_worker.providers_file import load_providers
from penstock_kit.settings import load_settings
from pydantic import BaseModel

from docs.render_settings import SERVICES, settings_class

ROOT = Path(__file__).parents[2]
OURS = (*SERVICES, "topics", "cli", "model")
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    """The file as compose reads it without a .env file."""
    text = _VARIABLE.sub(r"\2", (ROOT / "docker-compose.yml").read_text())
    assert "${" not in text, "every variable needs a default: ${NAME:-default}"
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def test_file_follows_the_compose_specification(stack: dict[str, Any]) -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"

    jsonschema.validate(stack, json.loads(vendored.read_text()))


def test_docker_compose_accepts_the_file_where_it_is_installed() -> None:
    """The specification's schema is checked everywhere; this adds the tool's own opinion."""
    docker = shutil.which("docker")
    plugin = docker and subprocess.run(
        [docker, "compose", "version"], capture_output=True, check=False
    )
    if not docker or not plugin or plugin.returncode != 0:
        return

    command = [docker, "compose", "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_service_reads_its_settings(
    stack: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    for name, value in _environment(stack["services"][service]).items():
        monkeypatch.setenv(name, value)

    settings = load_settings(settings_class(service))

    granted = float(stack["services"][service]["stop_grace_period"].removesuffix("s"))
    assert settings.grace_period.total_seconds() <= granted


@pytest.mark.parametrize("name", [name for name in OURS if name != "model"])
def test_every_file_that_is_read_is_mounted(
    stack: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = stack["services"][name]
    environment = _environment(service)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    if name in SERVICES:
        read = set(_files_of(load_settings(settings_class(name))))
    else:  # the command line reads no file of a service
        read = {environment["PENSTOCK_TASKS_FILE"]}

    assert read <= {volume.split(":")[1] for volume in service["volumes"]}


def test_gateway_counts_itself_and_spools_on_the_volume(stack: dict[str, Any]) -> None:
    gateway = stack["services"]["gateway"]
    environment = _environment(gateway)
    on_disk = [volume.split(":")[1] for volume in gateway["volumes"] if volume[0] not in "./"]

    assert environment["PENSTOCK_GATEWAY__GATEWAYS"] == "1"
    assert environment["PENSTOCK_GATEWAY__SPOOL_FOLDER"] in on_disk


def test_topics_have_as_many_copies_as_there_are_brokers(stack: dict[str, Any]) -> None:
    assert _environment(stack["services"]["topics"])["PENSTOCK_KAFKA__REPLICATION"] == "1"


def test_references_lead_somewhere(stack: dict[str, Any]) -> None:
    for service in stack["services"].values():
        assert set(service.get("depends_on", ())) <= set(stack["services"])
        for path in service.get("env_file", ()):
            assert (ROOT / path).is_file()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ROOT / source).is_file() if source[0] == "." else source in stack["volumes"]
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_who_is_waited_for_has_a_health_check(stack: dict[str, Any]) -> None:
    for service in stack["services"].values():
        for name, how in service.get("depends_on", {}).items():
            is_checked = "healthcheck" in stack["services"][name]
            assert is_checked == (how["condition"] == "service_healthy"), name


def test_ports_are_published_on_loopback_only(stack: dict[str, Any]) -> None:
    ports = [port for each in stack["services"].values() for port in each.get("ports", ())]

    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_confined(stack: dict[str, Any], name: str) -> None:
    service = stack["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_providers_file_needs_no_key() -> None:
    providers = load_providers(ROOT / "k8s/local/providers.yaml", environ={})

    assert str(providers.providers["local"].base_url) == "http://model:8090/v1"


def test_example_of_the_env_file_names_every_variable() -> None:
    used = {name for name, _ in _VARIABLE.findall((ROOT / "docker-compose.yml").read_text())}
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert {line.partition("=")[0] for line in lines if line and line[0] != "#"} == used


def _files_of(settings: BaseModel) -> Iterator[str]:
    for _, value in settings:
        if isinstance(value, BaseModel):
            yield from _files_of(value)
        elif isinstance(value, Path) and value.is_relative_to("/etc/penstock"):
            yield str(value)


def _environment(service: dict[str, Any]) -> dict[str, str]:
    pairs = [
        line.partition("=")
        for path in service["env_file"]
        for line in (ROOT / path).read_text().splitlines()
        if line and line[0] != "#"
    ]
    own = {name: str(value) for name, value in service["environment"].items()}
    return {name: value for name, _, value in pairs} | own
