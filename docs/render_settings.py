"""Render the tables of docs/configuration.md from the settings classes; `--check` fails on drift.

Everything outside the `<!-- begin NAME -->` ... `<!-- end NAME -->` pairs is written by hand.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from gateway.admission.rules import BacklogBounds, LimitRule, TenantLimits
from llm_worker.providers_file import Model, ProviderEntry
from penstock_kit.settings import PREFIX, JwtIssuer, PlatformSettings
from penstock_kit.tasks import RetryPolicy, TaskType
from pydantic import AnyHttpUrl, BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

__all__ = ["PAGE", "SERVICES", "Row", "drift", "own_rows", "settings_class", "shared_rows"]

SERVICES = ("gateway", "llm-worker", "embedder", "recorder", "notifier")
PAGE = Path(__file__).parent / "configuration.md"
_HEAD = "| name | default | form | meaning |\n|---|---|---|---|\n"
_HOST_NAME = PlatformSettings.model_fields["instance"].default_factory
"""The one factory whose value is of the machine that renders."""
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_FORMS: dict[Any, str] = {
    bool: "`true`, `false`",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret",
    AnyHttpUrl: "URL",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as the page shows it."""

    name: str
    default: str
    form: str
    meaning: str

    def line(self) -> str:
        """As a row of a Markdown table."""
        cells = (f"`{self.name}`", self.default, self.form, self.meaning)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def settings_class(service: str) -> type[PlatformSettings]:
    """The one class that a service reads at its start."""
    module = importlib.import_module(f"{service.replace('-', '_')}.settings")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, PlatformSettings)
        and value is not PlatformSettings
    )
    return found


def shared_rows() -> list[Row]:
    """What every service reads."""
    return list(_rows(PlatformSettings, PREFIX))


def own_rows(service: str) -> list[Row]:
    """What only this service reads."""
    shared = set(PlatformSettings.model_fields)
    return list(_rows(settings_class(service), PREFIX, skip=shared))


def drift(page: Path = PAGE) -> str | None:
    """None while the page is current, else the page as it should be."""
    text = page.read_text()
    wanted = text
    for name, rows in _tables().items():
        table = f"<!-- begin {name} -->\n{_HEAD}{''.join(row.line() for row in rows)}"
        pattern = re.compile(rf"<!-- begin {name} -->\n.*?(?=<!-- end {name} -->)", re.DOTALL)
        wanted, count = pattern.subn(table.replace("\\", r"\\"), wanted)
        if count != 1:
            raise SystemExit(f"{page} needs one pair of the markers begin/end {name}")
    return None if wanted == text else wanted


def _tables() -> dict[str, list[Row]]:
    return {
        "shared": shared_rows(),
        **{service: own_rows(service) for service in SERVICES},
        "jwt": list(_rows(JwtIssuer, "", upper=False)),
        "providers": list(_rows(ProviderEntry, "", upper=False)),
        "models": list(_rows(Model, "", upper=False)),
        "tasks": list(_rows(TaskType, "", upper=False)),
        "limits": list(_rows(LimitRule, "", upper=False)),
        "backlog": list(_rows(BacklogBounds, "", upper=False)),
        "tenant-limits": list(_rows(TenantLimits, "", upper=False)),
        "retry": list(_rows(RetryPolicy, "", upper=False)),
    }


def _rows(
    model: type[BaseModel], prefix: str, *, skip: set[str] | None = None, upper: bool = True
) -> Iterator[Row]:
    for name, field in model.model_fields.items():
        if skip and name in skip:
            continue
        full = prefix + (name.upper() if upper else name)
        kind = _plain(field.annotation)
        if upper and isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(kind, f"{full}__")
        else:
            yield Row(full, _default(field), _form(name, kind), field.description or "")


def _plain(annotation: Any) -> Any:
    """The annotation without `| None` and `Annotated`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        (only,) = (part for part in get_args(annotation) if part is not type(None))
        return _plain(only)
    return annotation


def _form(name: str, kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if origin in (list, dict):
        return "list" if origin is list else "mapping"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    if isinstance(kind, type) and issubclass(kind, timedelta):
        return "duration"
    if kind is int:
        return "bytes" if name.endswith("_bytes") else "whole number"
    return _FORMS.get(kind, "mapping")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default is PydanticUndefined:
        return _made(field)
    return _value(field.default)


def _made(field: FieldInfo) -> str:
    factory: Any = field.default_factory
    return "host name" if factory is _HOST_NAME else _value(factory())


def _value(value: Any) -> str:
    match value:
        case None | BaseModel():
            return "none"
        case timedelta():
            return f"`{_duration(value)}`"
        case bool():
            return f"`{str(value).lower()}`"
        case [timedelta(), *_]:
            return f"`{orjson.dumps([_duration(each) for each in value]).decode()}`"
        case _:
            return f"`{value}`"


def _duration(value: timedelta) -> str:
    milliseconds = round(value.total_seconds() * 1000)
    unit, size = next(pair for pair in _UNITS if milliseconds % pair[1] == 0)
    return f"{milliseconds // size}{unit}"


def main() -> int:
    """Write the page, or with --check only tell whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the page is not current")
    wanted = drift()
    if parser.parse_args().check:
        if wanted is not None:
            print("docs/configuration.md is not current; run `make docs`", file=sys.stderr)
        return int(wanted is not None)
    if wanted is not None:
        PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
