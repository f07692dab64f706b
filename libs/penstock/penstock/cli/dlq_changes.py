"""`penstock dlq redrive` and `drop`: what is done with dead letters."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated

import typer
from penstock_kit.auth.producers import GATEWAY_PRODUCER, producer_secret
from penstock_kit.clock import SystemClock

from penstock.cli.console import Out, failing_well
from penstock.cli.dlq_options import (
    CodeOption,
    LimitOption,
    PlacesArgument,
    ReasonOption,
    SinceOption,
    TaskOption,
    TenantOption,
    TopicOption,
    UntilOption,
    letter_filter,
)
from penstock.cli.dlq_running import ASK_ABOVE, Change
from penstock.cli.target import DataOption, JsonOption, KafkaOption, Target
from penstock.errors import WrongUse
from penstock.operating.dlq.editing import Edit, parse_assignment
from penstock.operating.dlq.letters import LetterFilter
from penstock.operating.dlq.replacing import Replacing, Signer

__all__ = ["drop", "redrive"]

_RATE = re.compile(r"(\d{1,6}(?:\.\d+)?)/([smh])", re.ASCII)
_PER_S = {"s": 1, "m": 60, "h": 3600}

DryOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done with each letter; write nothing.")
]
YesOption = Annotated[bool, typer.Option("--yes", help=f"Do not ask above {ASK_ABOVE} letters.")]
RateOption = Annotated[str, typer.Option("--rate", help="At most so many: 50/s, 600/m.")]
EditOption = Annotated[
    Path | None, typer.Option("--edit", help="File with the new body; for one letter only.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="path=value in the body of each, e.g. model=small; repeatable."),
]
ToOption = Annotated[
    str | None, typer.Option("--to", help="Request topic to write to instead of its own.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Also poison, and letters whose sender nobody has proved.")
]
ProducerOption = Annotated[
    str | None,
    typer.Option(
        "--producer",
        help="Sign as this producer, with $PENSTOCK_CLIENT__PRODUCER_SECRET; default: the gateway.",
    ),
]
NoteOption = Annotated[str, typer.Option("--note", help="Why; it is kept with the letter.")]


def redrive(
    letters: PlacesArgument = None,
    *,
    tenant: TenantOption = None,
    task: TaskOption = None,
    reason: ReasonOption = None,
    code: CodeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    topic: TopicOption = None,
    limit: LimitOption = None,
    dry_run: DryOption = False,
    rate: RateOption = "50/s",
    edit: EditOption = None,
    assign: SetOption = None,
    to: ToOption = None,
    force: ForceOption = False,
    producer: ProducerOption = None,
    yes: YesOption = False,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Run dead letters again, each as a new job; a letter that was redriven is left alone.

    Name them by coordinates or by filters. Killed or run twice, it runs no job twice.
    """
    with failing_well(json=json):
        target, clock = Target(data=data, given_kafka=kafka), SystemClock()
        wanted = letter_filter(
            now=clock.now(),
            places=letters,
            tenant=tenant,
            task=task,
            reason=reason,
            code=code,
            since=since,
            until=until,
            topic=topic,
        )
        replacing = Replacing(
            tasks=target.tasks,
            clock=clock,
            edit=_edit(edit, assign or [], wanted),
            to=to,
            force=force,
            signer=_signer(target, producer),
        )
        change = Change(target, wanted, limit, Out(json=json), asks=not (yes or dry_run))
        asyncio.run(
            change.rehearse(replacing) if dry_run else change.redrive(replacing, _rate(rate))
        )


def drop(
    letters: PlacesArgument = None,
    *,
    tenant: TenantOption = None,
    task: TaskOption = None,
    reason: ReasonOption = None,
    code: CodeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    topic: TopicOption = None,
    limit: LimitOption = None,
    dry_run: DryOption = False,
    note: NoteOption = "",
    yes: YesOption = False,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Mark dead letters as done without running them; they stay in the topic until it forgets."""
    with failing_well(json=json):
        wanted = letter_filter(
            now=SystemClock().now(),
            places=letters,
            tenant=tenant,
            task=task,
            reason=reason,
            code=code,
            since=since,
            until=until,
            topic=topic,
        )
        target = Target(data=data, given_kafka=kafka)
        change = Change(target, wanted, limit, Out(json=json), asks=not (yes or dry_run))
        asyncio.run(change.drop(note, is_dry=dry_run))


def _edit(file: Path | None, assignments: list[str], wanted: LetterFilter) -> Edit:
    """The edit that the options mean.

    Raises:
        WrongUse: a new body for more than one letter, or a file that cannot be read.
        BadEdit: an assignment has another form.
    """
    if file is None:
        return Edit(assignments=tuple(parse_assignment(text) for text in assignments))
    if wanted.places is None or len(wanted.places) != 1:
        raise WrongUse(
            "--edit gives one letter a new body; name that letter by its place, or change the same"
            " members of many with --set"
        )
    try:
        body = file.read_bytes()
    except OSError as error:
        raise WrongUse(
            f"{str(file)!r} cannot be read ({error.strerror}); correct --edit"
        ) from error
    return Edit(body=body, assignments=tuple(parse_assignment(text) for text in assignments))


def _rate(text: str) -> float:
    """Letters per second.

    Raises:
        WrongUse: another form.
    """
    found = _RATE.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise WrongUse(f"{text!r} is no rate; write for example 50/s or 600/m")
    return float(found[1]) / _PER_S[found[2]]


def _signer(target: Target, producer: str | None) -> Signer | None:
    """Who signs; None where unsigned events are taken and nobody is named.

    Raises:
        WrongUse: a producer without its secret.
    """
    if producer is None:
        if not target.verify_producers:
            return None
        return Signer(GATEWAY_PRODUCER, producer_secret(target.id_secret, GATEWAY_PRODUCER))
    try:
        secret = bytes.fromhex(os.environ.get("PENSTOCK_CLIENT__PRODUCER_SECRET", ""))
    except ValueError:
        secret = b""
    if not secret:
        raise WrongUse(
            f"--producer {producer} needs its secret; set PENSTOCK_CLIENT__PRODUCER_SECRET to the"
            " hex digits that `penstock token create --producer` showed"
        )
    return Signer(producer, secret)
