"""`penstock send` and `penstock tail`: submit a job, follow one or all."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from penstock_contracts.events import DeltaEvent
from penstock_contracts.requests import Priority

from penstock.cli.console import Out, failing_well
from penstock.cli.target import (
    DataOption,
    GatewayOption,
    JsonOption,
    KeyOption,
    NotifierOption,
    Target,
)
from penstock.client import AsyncClient, Job, JobEnded, StreamEvent, Transcript
from penstock.errors import WrongUse

__all__ = ["send", "tail"]

InputArgument = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        help="Text, or JSON if it begins with {; @FILE reads a file, - standard input.",
    ),
]
TaskOption = Annotated[str, typer.Option("--task", help="Task type.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Model; default the task's.")]
ConversationOption = Annotated[
    str | None, typer.Option("--conversation", help="Go on with this conversation.")
]
PriorityOption = Annotated[Priority, typer.Option("--priority", help="Which lane.")]
MaxTokensOption = Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest answer.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="Print the job id, do not wait.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds to wait for the end.")]


def send(
    text: InputArgument,
    *,
    task: TaskOption = "chat",
    model: ModelOption = None,
    conversation: ConversationOption = None,
    priority: PriorityOption = Priority.DEFAULT,
    max_tokens: MaxTokensOption = None,
    detach: DetachOption = False,
    timeout: TimeoutOption = 600.0,
    gateway: GatewayOption = None,
    key: KeyOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Submit a job and stream the answer; --json prints the finished job instead."""
    with failing_well(json=json):
        target = Target(data=data, given_gateway=gateway, given_key=key)
        body = {
            "task": task,
            "input": read_input(text),
            "model": model,
            "conversation": conversation,
            "priority": None if priority is Priority.DEFAULT else priority,
            "params": {"max_tokens": max_tokens} if max_tokens is not None else None,
        }
        asyncio.run(_send(target, Out(json=json), body, detach=detach, timeout_s=timeout))


def tail(
    job: Annotated[
        str | None, typer.Argument(help="Job id; without it all jobs of the key.")
    ] = None,
    *,
    gateway: GatewayOption = None,
    notifier: NotifierOption = None,
    key: KeyOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Follow the events of one job to its end, or of all jobs until Ctrl-C."""
    with failing_well(json=json):
        target = Target(data=data, given_gateway=gateway, given_notifier=notifier, given_key=key)
        asyncio.run(_tail(target, Out(json=json), job))


def read_input(text: str) -> dict[str, Any] | str:
    """The input that the argument stands for.

    Raises:
        WrongUse: no such file, or broken JSON.
    """
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUse(f"cannot read {text[1:]!r}: {error}; check the path") from error
    if not text.lstrip().startswith("{"):
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WrongUse(f"the input begins like JSON but is none: {error}; correct it") from error
    assert isinstance(value, dict)
    return value


async def _send(
    target: Target, out: Out, body: dict[str, Any], *, detach: bool, timeout_s: float
) -> None:
    async with AsyncClient(target.gateway, target.key) as client:
        task, given = body.pop("task"), body.pop("input")
        job = await client.submit(task, given, **body)
        if detach:
            out.document(_job(job))
            out.say(job.id)
            return
        async with asyncio.timeout(timeout_s):
            await _stream(client, out, job.id)
            ended = await _recorded(client, job.id)
    out.document(_job(ended))
    if ended.output is not None and ended.task not in ("chat", "generate"):
        out.say(orjson.dumps(_job(ended)["output"], option=orjson.OPT_INDENT_2).decode())
    if ended.status != "completed":
        detail = (
            ended.error.message if ended.error is not None else "penstock tail shows its events"
        )
        raise JobEnded(
            f"job {ended.id} is {ended.status.value}: {detail}",
            job=ended.id,
            status=ended.status,
            error=ended.error,
        )


async def _stream(client: AsyncClient, out: Out, job: str) -> None:
    """Print text as it comes, until the job is over."""
    transcript = Transcript()
    attempt = 0
    async with aclosing(client.events(job)) as events:
        async for event in events:
            had_text = bool(transcript.text)
            added = transcript.take(event)
            if had_text and transcript.position.attempt != attempt and not out.json:
                out.write("\n[the answer begins anew]\n")
            attempt = transcript.position.attempt
            if added and not out.json:
                out.write(added)
    if transcript.text and not out.json:
        out.write("\n")


async def _recorded(client: AsyncClient, job: str) -> Job:
    """The finished job; the recorder may be some milliseconds behind the events."""
    while True:
        found = await client.get(job)
        if found.status.is_terminal:
            return found
        await asyncio.sleep(_RECORDING.total_seconds())


async def _tail(target: Target, out: Out, job: str | None) -> None:
    notifier = target.notifier if job is None else None
    async with AsyncClient(target.gateway, target.key, notifier=notifier) as client:
        stream = client.follow() if job is None else client.events(job)
        async with aclosing(stream) as events:
            async for event in events:
                if out.json:
                    out.line(event.model_dump(mode="json", exclude_none=True))
                else:
                    out.say(_line(event))


def _line(event: StreamEvent) -> str:
    detail = ""
    if isinstance(event, DeltaEvent):
        detail = repr("".join(getattr(delta, "text", "") for delta in event.deltas))
    elif getattr(event, "error", None) is not None:
        error = event.error  # type: ignore[union-attr]  # checked in the line above
        detail = f"{error.code}: {error.message}" if error is not None else ""
    return f"{event.job}  {event.position!s:<6} {event.type:<10} {detail}".rstrip()


def _job(job: Job) -> dict[str, Any]:
    return job.model_dump(mode="json", exclude_none=True)


_RECORDING = timedelta(milliseconds=50)
"""Pause between two looks at a job that its events have ended already."""
