"""The whole command line, put together."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog
import typer

__all__ = ["COMMANDS", "GROUPS", "main", "make_app"]

COMMANDS: Mapping[str, str] = {
    "send": "penstock.cli.jobs:send",
    "tail": "penstock.cli.jobs:tail",
    "status": "penstock.cli.status:status",
    "doctor": "penstock.cli.doctor:doctor",
    "rebuild": "penstock.cli.rebuild:rebuild",
}
GROUPS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "dev": (
        "The embedded stack: Kafka, Redis, a model and the services.",
        {
            "up": "penstock.cli.dev:up",
            "down": "penstock.cli.dev:down",
            "run": "penstock.cli.foreground:run",
            "demo": "penstock.cli.foreground:demo",
        },
    ),
    "token": (
        "API keys and signing secrets.",
        {
            "create": "penstock.cli.tokens:create",
            "list": "penstock.cli.tokens:list_all",
            "revoke": "penstock.cli.tokens:revoke",
        },
    ),
    "webhook": (
        "Webhook endpoints: who is told when something ends.",
        {
            "add": "penstock.cli.webhooks:add",
            "list": "penstock.cli.webhooks:list_all",
            "rotate": "penstock.cli.webhooks:rotate",
            "disable": "penstock.cli.webhooks:disable",
            "enable": "penstock.cli.webhooks:enable",
            "remove": "penstock.cli.webhooks:remove",
        },
    ),
    "dlq": (
        "Dead letters: look, redrive, drop.",
        {
            "list": "penstock.cli.dlq:list_all",
            "show": "penstock.cli.dlq:show",
            "redrive": "penstock.cli.dlq_changes:redrive",
            "drop": "penstock.cli.dlq_changes:drop",
        },
    ),
    "control": (
        "Rules for waiting records: pause, demote, drop, limit.",
        {
            "pause": "penstock.cli.control:pause",
            "demote": "penstock.cli.control:demote",
            "drop": "penstock.cli.control:drop",
            "limit": "penstock.cli.control:limit",
            "list": "penstock.cli.control:list_all",
            "clear": "penstock.cli.control:clear",
        },
    ),
    "topics": (
        "Topics: list, create, show.",
        {
            "list": "penstock.cli.topics:list_all",
            "apply": "penstock.cli.topics:apply",
            "show": "penstock.cli.topics:show",
        },
    ),
}
"""Where each command lives: only the module of the one that is called is imported."""


def make_app(words: Collection[str] = ()) -> typer.Typer:
    """The commands that a command line of these words can mean; all of them without words."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_penstock)
    first = [word for word in words if word in COMMANDS or word in GROUPS][:1]
    for name, place in COMMANDS.items():
        if not first or name in first:
            app.command(name)(_load(place))
    for name, (about, commands) in GROUPS.items():
        if first and name not in first:
            continue
        group = typer.Typer(no_args_is_help=True, help=about)
        group.callback()(_nothing)
        second = [word for word in words if word in commands]
        for command, place in commands.items():
            if not second or command in second:
                group.command(command)(_load(place))
        app.add_typer(group, name=name, help=about)
    return app


def main() -> None:
    """Entry point of `penstock`."""
    # Standard output is the answer alone: what the kit logs goes where trouble goes.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    make_app(sys.argv[1:3])()


def _penstock() -> None:
    """Penstock: durable AI jobs on Kafka.

    Without addresses, commands use the stack that `penstock dev up` started in this folder or
    one above.
    """


def _nothing() -> None:
    """Keep typer from taking a group of one command for that command."""


def _load(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    command: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return command
