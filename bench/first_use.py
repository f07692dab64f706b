"""From clone to first streamed token on empty caches, as a newcomer would have it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from bench.rows import Row
from bench.stack import ROOT

MARK = "first token"
"""The demonstration prints a line with these words when the first token arrived."""


def measure(folder: Path) -> Row:
    """Clone, `make demo` with an empty home; minutes until the first streamed token."""
    folder.mkdir(parents=True)
    home = folder / "home"
    home.mkdir()
    clone = folder / "penstock"
    environment = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("XDG_", "UV_", "VIRTUAL_ENV", "PENSTOCK_"))
    }  # fmt: skip
    environment["HOME"] = str(home)
    began = time.monotonic()
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    demo = subprocess.Popen(
        ["make", "demo"], cwd=clone, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert demo.stdout is not None
    first_s = None
    for line in demo.stdout:
        if first_s is None and MARK in line.lower():
            first_s = time.monotonic() - began
    if demo.wait() != 0 or first_s is None:
        raise RuntimeError(f"make demo ended with {demo.returncode}; run it by hand to see why")
    return Row.at_most("clone to first streamed token, empty caches", "min", [first_s / 60], 5)
