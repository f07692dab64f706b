"""What commands print: tables and sentences for people, one JSON document for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import typer
from penstock_kit.errors import PenstockError
from rich.console import Console
from rich.table import Table

from penstock.errors import ExitStatus, exit_status

_PIPE_WIDTH = 240
"""Columns where nobody looks at a screen: tables are not cut in pipes and logs."""

__all__ = ["Out", "complain", "explain", "failing_well"]


class Out:
    """Standard output of a command, in one of two forms. Trouble goes to standard error."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self._console = Console(highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            self._console.width = _PIPE_WIDTH

    def say(self, text: str) -> None:
        """A line for people; programs do not see it."""
        if not self.json:
            self._console.print(text, markup=False)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Rows for people; programs do not see them."""
        if self.json:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, no_wrap=True)
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        self._console.print(table)

    def document(self, value: Any) -> None:
        """The answer for programs; people do not see it."""
        if self.json:
            self.line(value)

    def line(self, value: Any) -> None:
        """One JSON document on one line, in either form."""
        sys.stdout.write(orjson.dumps(value).decode() + "\n")
        sys.stdout.flush()

    def write(self, text: str) -> None:
        """A piece of streamed text, at once."""
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def failing_well(*, json: bool = False) -> Iterator[None]:
    """Turn errors into a sentence on standard error and the exit status of docs/cli.md."""
    try:
        yield
    except (PenstockError, TimeoutError) as error:
        what, fix = explain(error)
        status = exit_status(error)
        complain(what, fix, status, json=json)
        raise typer.Exit(status) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        raise typer.Exit(ExitStatus.OK) from None


def complain(what: str, fix: str | None, status: ExitStatus, *, json: bool) -> None:
    """Say on standard error what went wrong, in the form that was asked for."""
    if json:
        body = {"error": {"status": status.name.lower(), "what": what, "fix": fix}}
        sys.stderr.write(orjson.dumps(body).decode() + "\n")
    else:
        sys.stderr.write(f"error: {what}\n" + (f"  fix: {fix}\n" if fix else ""))


def explain(error: Exception) -> tuple[str, str | None]:
    """What happened, and how to mend it: our messages say it after the last semicolon."""
    hint = getattr(error, "hint", None)
    text = str(error) or "the time is up"
    if isinstance(hint, str):
        return text.removesuffix(f"; {hint}").rstrip(), hint
    what, separator, fix = text.rpartition("; ")
    return (what, fix) if separator else (text, None)
