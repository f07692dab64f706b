"""`penstock dev`: the embedded stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from penstock.cli.console import Out, failing_well
from penstock.cli.progress import fetch_kafka, stack_progress
from penstock.dev.endpoints import DevJson
from penstock.dev.launch import RunningStack, attach, bring_up, take_down
from penstock.dev.options import BadOptions, StackOptions, parse_replicas
from penstock.dev.paths import StackPaths, default_data_dir

__all__ = ["down", "show_banner", "stack_options", "start_stack", "up"]

Replicas = Annotated[
    str, typer.Option(help="Replicas by service, e.g. llm-worker=3,gateway=2; others have one.")
]
Providers = Annotated[
    Path | None,
    typer.Option(help="Providers file of the llm-worker; without it the local model answers."),
]
Tasks = Annotated[Path | None, typer.Option(help="tasks.yaml; without it the built-in tasks.")]
Data = Annotated[
    Path | None, typer.Option(help="Folder of the stack; default $PENSTOCK_DEV__DATA or .penstock.")
]
Ephemeral = Annotated[bool, typer.Option("--ephemeral", help="Keep no data when the stack ends.")]
Qdrant = Annotated[str | None, typer.Option(help="URL of a Qdrant server instead of local mode.")]
Verify = Annotated[
    bool, typer.Option("--verify-producers", help="Refuse unsigned events, as production does.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def up(
    *,
    replicas: Replicas = "",
    providers: Providers = None,
    tasks: Tasks = None,
    data: Data = None,
    ephemeral: Ephemeral = False,
    qdrant: Qdrant = None,
    verify_producers: Verify = False,
    json: Json = False,
) -> None:
    """Start the stack in the background; return when everything is ready."""
    with failing_well(json=json):
        options = stack_options(
            replicas=replicas,
            providers=providers,
            tasks=tasks,
            data=data,
            ephemeral=ephemeral,
            qdrant=qdrant,
            verify_producers=verify_producers,
        )
        running = start_stack(options, tied=False)
        out = Out(json=json)
        out.document(running.dev.model_dump(mode="json"))
        show_banner(out, running)
        out.say("  stop it with: penstock dev down")


def down(*, data: Data = None, json: Json = False) -> None:
    """Stop the stack; data is kept."""
    with failing_well(json=json):
        paths = StackPaths((data or default_data_dir()).absolute())
        stopped = take_down(paths)
        out = Out(json=json)
        out.document({"stopped": stopped})
        out.say("stopped" if stopped else f"no stack runs in {paths.root}")


def stack_options(
    *,
    replicas: str,
    providers: Path | None,
    tasks: Path | None,
    data: Path | None,
    ephemeral: bool,
    qdrant: str | None,
    verify_producers: bool,
) -> StackOptions:
    """The options in one value.

    Raises:
        BadOptions: they do not fit together.
    """
    try:
        return StackOptions(
            root=(data or default_data_dir()).absolute(),
            replicas=parse_replicas(replicas),
            providers=providers.absolute() if providers is not None else None,
            tasks=tasks.absolute() if tasks is not None else None,
            ephemeral=ephemeral,
            qdrant=qdrant,
            verify_producers=verify_producers,
        )
    except ValidationError as error:
        what, _, fix = error.errors()[0]["msg"].removeprefix("Value error, ").rpartition("; ")
        raise BadOptions(what, hint=fix) from error


def start_stack(options: StackOptions, *, tied: bool) -> RunningStack:
    """Bring the stack up, showing what it waits for.

    Raises:
        DevError: it cannot be had; the message says why and what to do.
    """
    running = attach(options)
    if running is not None:
        return running
    fetch_kafka()
    with stack_progress() as report:
        return bring_up(options, tied=tied, report=report)


def show_banner(out: Out, running: RunningStack) -> None:
    """Where everything is, and the key to it."""
    dev: DevJson = running.dev
    out.say(f"Penstock is ready ({dev.ready_in_s:.1f} s)" if running.is_new else "Penstock is up")
    rows = [
        ("gateway", dev.gateway, "REST and SSE; documentation at /docs"),
        ("notifier", dev.notifier, "WebSocket"),
        ("kafka", dev.kafka, "for direct producers and readers"),
        ("redis", dev.redis, "the job table"),
        ("model", dev.model_server or str(dev.options.providers), "OpenAI-compatible"),
        ("key", dev.api_key, f"tenant {dev.tenant}"),
        ("data", str(dev.options.root), "ephemeral" if dev.options.ephemeral else "kept"),
    ]
    for name, value, remark in rows:
        out.say(f"  {name:<9} {value}  ({remark})")
