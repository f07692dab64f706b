"""A judge that shares code with the accused is none."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

CHECKER = Path(__file__).parents[3] / "tests/promises/checker"
PRODUCT = {
    "penstock_contracts",
    "penstock_kit",
    "penstock",
    "gateway",
    "llm_worker",
    "embedder",
    "recorder",
    "notifier",
}
RIG = {"tests.promises.checker", "tests.promises.report"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_checker_when_read_then_imports_nothing_of_the_product() -> None:
    modules = list(CHECKER.rglob("*.py"))
    assert modules

    names = {(path.name, name) for path in modules for name in imported(path)}

    assert {one for one in names if one[1].split(".")[0] in PRODUCT} == set()
    ours = {name for _, name in names if name.startswith("tests")}
    assert all(any(name.startswith(allowed) for allowed in RIG) for name in ours)
