"""Options that select dead letters, and the box that a command reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Annotated

import typer
from penstock_contracts.dead import DeadReason
from penstock_kit.kafka.scan import KafkaScan

from penstock.cli.target import Target
from penstock.errors import WrongUse
from penstock.operating.dlq.box import DeadLetterBox
from penstock.operating.dlq.letters import LetterFilter, Place, parse_place

__all__ = [
    "CodeOption",
    "LimitOption",
    "PlacesArgument",
    "ReasonOption",
    "SinceOption",
    "TaskOption",
    "TenantOption",
    "TopicOption",
    "UntilOption",
    "box_of",
    "letter_filter",
    "parse_places",
]

_AGO = re.compile(r"([1-9][0-9]{0,5})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

TenantOption = Annotated[str | None, typer.Option("--tenant", help="Only letters of this tenant.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Only letters of this task.")]
ReasonOption = Annotated[
    DeadReason | None, typer.Option("--reason", help="poison: the record; failure: the handler.")
]
CodeOption = Annotated[
    str | None, typer.Option("--code", help="Error class; * and ? stand for anything.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Died at or after: 2h ago, or 2026-11-21T12:00Z.")
]
UntilOption = Annotated[str | None, typer.Option("--until", help="Died before; forms as --since.")]
TopicOption = Annotated[
    str | None, typer.Option("--topic", help="Topic that it came from; * and ? as in --code.")
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many letters.")]
PlacesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Letters by partition/offset, as `penstock dlq list` shows them."),
]


def box_of(target: Target) -> DeadLetterBox:
    """The dead letters of a deployment."""
    return DeadLetterBox(KafkaScan(target.kafka))


def letter_filter(
    *,
    now: datetime,
    places: Sequence[str] | None = None,
    tenant: str | None,
    task: str | None,
    reason: DeadReason | None,
    code: str | None,
    since: str | None,
    until: str | None,
    topic: str | None,
    with_resolved: bool = False,
) -> LetterFilter:
    """The options as one value.

    Raises:
        WrongUse: a place or an instant has another form.
    """
    return LetterFilter(
        places=parse_places(places) if places else None,
        tenant=tenant,
        task=task,
        reason=reason,
        code=code,
        topic=topic,
        since=_instant(since, now),
        until=_instant(until, now),
        with_resolved=with_resolved,
    )


def parse_places(texts: Sequence[str]) -> frozenset[Place]:
    """Coordinates of letters.

    Raises:
        WrongUse: another form.
    """
    places = set()
    for text in texts:
        place = parse_place(text)
        if place is None:
            raise WrongUse(
                f"{text!r} is no place of a letter; write partition/offset, for example 3/17, as"
                " `penstock dlq list` shows it"
            )
        places.add(place)
    return frozenset(places)


def _instant(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    ago = _AGO.fullmatch(text.removesuffix(" ago"))
    if ago is not None:
        try:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            raise WrongUse(
                f"{text!r} ago is before the calendar begins; leave the option out to mean all"
            ) from None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUse(
            f"{text!r} is no instant; write 30m, 2h or 7d (ago), or 2026-11-21T12:00Z"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
