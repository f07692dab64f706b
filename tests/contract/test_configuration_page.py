"""docs/configuration.md shows every setting as it is, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from gateway.admission.rules import load_limits
from llm_worker.providers_file import load_providers
from penstock_kit.tasks import load_tasks

from docs import render_settings

PAGE = render_settings.PAGE


def test_page_is_current() -> None:
    assert render_settings.drift() is None, "run `make docs`"


@pytest.mark.parametrize("service", render_settings.SERVICES)
def test_every_setting_says_what_it_means(service: str) -> None:
    rows = render_settings.shared_rows() + render_settings.own_rows(service)

    assert [row.name for row in rows if not row.meaning] == []


def test_drift_when_a_default_changed_gives_the_page_as_it_should_be(tmp_path: Path) -> None:
    page = tmp_path / "configuration.md"
    page.write_text(PAGE.read_text().replace("`25ms`", "`26ms`"))

    assert render_settings.drift(page) == PAGE.read_text()


def test_default_that_a_factory_makes_is_shown() -> None:
    rows = {row.name: row.default for row in render_settings.own_rows("notifier")}

    assert rows["PENSTOCK_WEBHOOKS__PORTS"] == "`[443, 8443]`"
    assert rows["PENSTOCK_NOTIFIER__WEBHOOKS__SCHEDULE"].startswith('`["5s","5m","30m","2h"')


def test_only_the_name_of_the_process_comes_from_the_machine() -> None:
    every = render_settings.shared_rows()
    for service in render_settings.SERVICES:
        every += render_settings.own_rows(service)

    named = {row.name for row in every if row.default == "host name"}

    assert named == {"PENSTOCK_INSTANCE"}


def test_example_of_the_providers_file_is_accepted(tmp_path: Path) -> None:
    providers = load_providers(_example("providers", tmp_path), environ={"MAIN_API_KEY": "k"})

    assert providers.chain(None, []) == ("small", "backup")


def test_example_of_the_tasks_file_is_accepted(tmp_path: Path) -> None:
    tasks = load_tasks(_example("tasks", tmp_path))

    assert tasks.group("summarise") == "llm-worker"


def test_example_of_the_limits_file_is_accepted(tmp_path: Path) -> None:
    book = load_limits(_example("limits", tmp_path), tasks=("chat",))

    assert book.tenant_backlog("acme") == 20_000


def _example(top: str, folder: Path) -> Path:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (text,) = (block for block in blocks if top in yaml.safe_load(block))
    path = folder / f"{top}.yaml"
    path.write_text(text)
    return path
