"""Prompt templates: files with `{{name}}` places, filled literally; no engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from penstock_kit.errors import Fatal, Rejected

__all__ = ["BadTemplates", "Templates", "load_templates"]

_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]{0,63})\s*\}\}")
_SUFFIXES = frozenset({".txt", ".md"})
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}", re.ASCII)
_MAX_BYTES = 256 * 1024


class BadTemplates(Fatal):
    """Raised at start-up: the folder or a file in it cannot be used."""


class Templates:
    """All templates of a deployment, read once."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)

    def fill(self, name: str, variables: Mapping[str, str]) -> str:
        """The template with every place filled; a value is inserted as it is, never read again.

        Raises:
            Rejected: `unknown_template`, `missing_variable` or `unknown_variable`, naming it.
        """
        text = self._texts.get(name)
        if text is None:
            known = ", ".join(sorted(self._texts)) or "none are installed"
            raise Rejected(
                f"template {name!r} does not exist; known templates: {known}",
                code="unknown_template",
                field="input.template",
            )
        wanted = dict.fromkeys(_PLACE.findall(text))
        for variable in wanted:
            if variable not in variables:
                raise Rejected(
                    f"template {name!r} needs the variable {variable!r}",
                    code="missing_variable",
                    field=f"input.variables.{variable}",
                )
        for variable in variables:
            if variable not in wanted:
                raise Rejected(
                    f"template {name!r} has no place for {variable[:64]!r}; its variables: "
                    f"{', '.join(wanted) or 'none'}",
                    code="unknown_variable",
                    field=f"input.variables.{variable[:64]}",
                )
        return _PLACE.sub(lambda place: variables[place.group(1)], text)


def load_templates(folder: Path | None) -> Templates:
    """Every `<name>.txt` and `<name>.md` of the folder; None: no templates.

    Raises:
        BadTemplates: no such folder, or a file that is unreadable, too large, badly named or there
            twice.
    """
    if folder is None:
        return Templates({})
    try:
        files = _files(folder)
        return Templates({path.stem: _read(path) for path in files})
    except (OSError, UnicodeDecodeError) as error:
        raise BadTemplates(
            f"cannot read the templates in {str(folder)!r} ({error}); correct "
            "PENSTOCK_LLM_WORKER__TEMPLATES_DIR or the file"
        ) from error


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    for earlier, path in pairwise(sorted(files, key=lambda path: path.stem)):
        if earlier.stem == path.stem:
            raise BadTemplates(
                f"template files {earlier.name!r} and {path.name!r} have one name; keep one"
            )
    return files


def _read(path: Path) -> str:
    if not _NAME.fullmatch(path.stem):
        raise BadTemplates(
            f"template file {path.name!r} needs a name of lower-case letters, digits, _, . and -"
        )
    if path.stat().st_size > _MAX_BYTES:
        raise BadTemplates(f"template {path.name!r} is larger than {_MAX_BYTES} bytes; shorten it")
    return path.read_text(encoding="utf-8")
