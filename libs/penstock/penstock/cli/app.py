"""The whole command line, put together."""

from __future__ import annotations

import typer

from penstock.cli.dev import make_dev_app

__all__ = ["main", "make_app"]


def make_app() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Penstock: durable AI jobs on Kafka. Without addresses, commands use the stack that "
        "`penstock dev up` started in this folder or one above.",
    )
    app.add_typer(make_dev_app(), name="dev")
    return app


def main() -> None:
    """Entry point of `penstock`."""
    make_app()()
