"""The whole command line, put together."""

from __future__ import annotations

import typer

from penstock.cli.dev import down, up
from penstock.cli.doctor import doctor
from penstock.cli.foreground import demo, run
from penstock.cli.jobs import send, tail
from penstock.cli.rebuild import rebuild
from penstock.cli.status import status
from penstock.cli.tokens import make_token_app
from penstock.cli.topics import make_topics_app

__all__ = ["main", "make_app"]


def make_app() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Penstock: durable AI jobs on Kafka. Without addresses, commands use the stack that "
        "`penstock dev up` started in this folder or one above.",
    )
    app.add_typer(_dev_app(), name="dev")
    for command in (send, tail, status, doctor, rebuild):
        app.command()(command)
    app.add_typer(make_token_app(), name="token")
    app.add_typer(make_topics_app(), name="topics")
    return app


def _dev_app() -> typer.Typer:
    app = typer.Typer(no_args_is_help=True, help="The embedded stack: Kafka, Redis, services.")
    for command in (up, down, run, demo):
        app.command()(command)
    return app


def main() -> None:
    """Entry point of `penstock`."""
    make_app()()
