"""Each image's lock holds what its code imports, and each Dockerfile keeps our rules."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ("schemas/penstock_contracts", "libs/kit/penstock_kit")
IMAGES = {
    "gateway": "services/gateway/gateway",
    "llm-worker": "services/llm-worker/llm_worker",
    "embedder": "services/embedder/embedder",
    "recorder": "services/recorder/recorder",
    "notifier": "services/notifier/notifier",
    "penstock": "libs/penstock/penstock",
}
OWN = {"penstock_contracts", "penstock_kit", *(Path(path).name for path in IMAGES.values())}
DOCKERFILES = [*sorted(ROOT.glob("services/*/Dockerfile")), ROOT / "libs/penstock/Dockerfile"]


@pytest.mark.parametrize("image", IMAGES)
def test_lock_holds_what_the_code_imports(image: str) -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", _lock(image), re.MULTILINE))
    providers = packages_distributions()

    missing = {
        module
        for folder in (*SHARED, IMAGES[image])
        for module in _third_party(ROOT / folder)
        if not {_normal(name) for name in providers.get(module, ())} & locked
    }

    assert missing == set(), f"add them to the pyproject.toml of {image}, then run `make lock`"


@pytest.mark.parametrize("image", [*IMAGES, "embedder-model", "model-server"])
def test_lock_pins_every_package_by_hash_and_names_no_index(image: str) -> None:
    entries = re.split(
        r"\n(?=[a-z0-9])", re.sub(r"^ *#.*\n?", "", _lock(image), flags=re.MULTILINE)
    )

    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in _lock(image)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.parent.name))
def test_dockerfile_is_locked_and_without_root(path: Path) -> None:
    text = path.read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]

    assert lines[0] == "ARG BASE_IMAGE=python:3.11-slim"
    assert "USER 10001:10001" in lines[-2:]
    assert text.count("install --no-cache-dir") == text.count("--require-hashes")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.parent.name))
def test_dockerfile_copies_what_is_there_and_sent_to_the_builder(path: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) ", path.read_text(), re.MULTILINE)
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]

    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in allowed), source


def _lock(image: str) -> str:
    return (ROOT / "requirements" / f"{image}.txt").read_text()


def _third_party(folder: Path) -> set[str]:
    found = {module for path in folder.rglob("*.py") for module in _imported(path)}
    return found - OWN - set(sys.stdlib_module_names)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
