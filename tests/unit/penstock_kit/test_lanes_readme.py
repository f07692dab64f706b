"""What the page shows is the program that `tests/integration` runs, and it is short."""

from __future__ import annotations

import re
from pathlib import Path

KIT = Path(__file__).parents[3] / "libs/kit"
README = KIT / "penstock_kit/lanes/README.md"
MINIMAL = KIT / "examples/lanes/minimal.py"


def test_readme_when_compared_then_its_example_is_the_runnable_one() -> None:
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)

    assert code == MINIMAL.read_text()


def test_example_when_counted_then_less_than_30_lines_are_the_users() -> None:
    lines = MINIMAL.read_text().splitlines()
    imports = ("import ", "from ")
    own = [line for line in lines if line.strip() and not line.startswith(('"""', *imports))]

    assert len(own) < 30


def test_readme_when_it_lists_files_then_every_module_is_there() -> None:
    text = README.read_text().partition("## Files")[2]
    modules = {path.stem for path in README.parent.glob("*.py")} - {"__init__"}
    told = set(re.findall(r"`(\w+)`", text))
    unexplained = {
        "outcomes",
        "metrics",
        "patience",
        "pauses",
        "backoff",
        "adapting",
        "retry_topics",
    }

    assert modules - unexplained <= told
    assert told <= modules
