"""Evidence on disk: one JSON object per line, written when it happens."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

__all__ = ["Journal", "read_journal"]


class Journal:
    """A file that only grows; it survives the death of its writer."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, **members: Any) -> None:
        """Append a line with the present time as `at` (Unix seconds), unless it is given."""
        self._file.write(json.dumps({"at": time.time(), **members}).encode() + b"\n")

    def close(self) -> None:
        """Close the file; works twice."""
        self._file.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All lines; none if there is no file. A torn last line is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]
