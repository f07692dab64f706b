"""The compatibility gate: today's models against every released version.

`python schemas/compatibility.py` checks; `--release NAME` freezes the present schemas and examples
as a released version. A message that we only read (requests) must accept what a released version
accepted. A message that we state (events, records) must also be accepted by readers of every
released version; they ignore members that they do not know: their schema is open, ours closed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import jsoncompat
from penstock_contracts.catalog import MESSAGES
from pydantic import ValidationError

HERE = Path(__file__).parent
RELEASED = HERE / "released"


def closed(schema: Any) -> Any:
    """The schema with every object closed, so that a new member shows up as a difference."""
    return _rewritten(schema, close=True)


def opened(schema: Any) -> Any:
    """The schema as a tolerant reader applies it: unknown members pass."""
    return _rewritten(schema, close=False)


def _rewritten(schema: Any, *, close: bool) -> Any:
    if isinstance(schema, list):
        return [_rewritten(item, close=close) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # Open objects overlap: `oneOf` between them would refuse what readers take.
    result = {
        "anyOf" if key == "oneOf" else key: _rewritten(item, close=close)
        for key, item in schema.items()
    }
    if (
        close
        and isinstance(schema.get("properties"), dict)
        and "additionalProperties" not in schema
    ):
        result["additionalProperties"] = False
    return result


def breaks(old: dict[str, Any], new: dict[str, Any], *, is_strict: bool) -> list[str]:
    """Why `new` breaks users of `old`; empty if it does not."""
    problems = []
    ours = json.dumps(closed(new))
    if not jsoncompat.check_compat(json.dumps(closed(old)), ours, "deserializer"):
        problems.append("records of the released version would no longer be accepted")
    if not is_strict and not jsoncompat.check_compat(json.dumps(opened(old)), ours, "serializer"):
        problems.append("readers of the released version would refuse what we write now")
    return problems


def check() -> list[str]:
    """Every break against every released version, as sentences."""
    problems: list[str] = []
    for release in sorted(RELEASED.iterdir()):
        for path in sorted((release / "json").glob("*.json")):
            name = path.name.split(".")[0]
            if name not in MESSAGES:
                problems.append(
                    f"{release.name}: message {name} is gone; a released message stays readable"
                )
                continue
            message = MESSAGES[name]
            old, new = _anonymous(path), message.adapter.json_schema(mode="validation")
            found = breaks(old, new, is_strict=message.is_strict)
            problems += [f"{release.name}: {name}: {problem}" for problem in found]
        problems += _golden_problems(release)
    return problems


def release(name: str) -> None:
    """Freeze the present schemas and valid examples under a version's name.

    Raises:
        FileExistsError: the version is released already; released versions never change.
    """
    target = RELEASED / name
    (target / "json").mkdir(parents=True)
    for path in HERE.glob("json/*.json"):
        shutil.copy(path, target / "json")
    for path in HERE.glob("examples/*/v1/*.json"):
        if path.name.startswith("invalid-") or path.parts[-3] not in MESSAGES:
            continue
        golden = target / "golden" / path.parts[-3]
        golden.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, golden)


def main() -> int:
    """Check or release; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", metavar="NAME")
    arguments = parser.parse_args()
    if arguments.release:
        release(arguments.release)
        return 0
    problems = check()
    for problem in problems:
        print(
            f"breaking change: {problem}; keep it compatible or make a new topic version",
            file=sys.stderr,
        )
    return 1 if problems else 0


def _anonymous(path: Path) -> dict[str, Any]:
    """A released schema without its name: the checker takes local references only."""
    schema: dict[str, Any] = json.loads(path.read_text())
    return {key: value for key, value in schema.items() if key not in ("$id", "$schema")}


def _golden_problems(release: Path) -> list[str]:
    problems = []
    for path in sorted((release / "golden").glob("*/*.json")):
        try:
            MESSAGES[path.parent.name].adapter.validate_json(path.read_bytes())
        except ValidationError as error:
            problems.append(
                f"{release.name}: golden {path.parent.name}/{path.name} is refused: {error}"
            )
    return problems


if __name__ == "__main__":
    sys.exit(main())
