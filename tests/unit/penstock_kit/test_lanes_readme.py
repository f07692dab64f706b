"""What the page shows must run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[3] / "libs/kit/penstock_kit/lanes/README.md"


def test_readme_when_its_example_runs_then_every_record_is_printed(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    program = tmp_path / "example.py"
    program.write_text(code)

    answer = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=True
    )

    assert sum(line.startswith("b'key-") for line in answer.stdout.splitlines()) == 100
    assert len([line for line in code.splitlines() if line.strip()]) < 36
