"""`penstock dlq list` and `show`: dead letters, as they are."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from penstock_contracts.dead import Resolution
from penstock_kit.clock import SystemClock

from penstock.cli.console import Out, failing_well
from penstock.cli.dlq_options import (
    CodeOption,
    ReasonOption,
    SinceOption,
    TaskOption,
    TenantOption,
    TopicOption,
    UntilOption,
    box_of,
    letter_filter,
    parse_places,
)
from penstock.cli.dlq_rows import Rows
from penstock.cli.target import DataOption, JsonOption, KafkaOption, Target
from penstock.cli.visible import visible
from penstock.errors import WrongUse
from penstock.operating.dlq.box import DeadLetterBox, Selection
from penstock.operating.dlq.letters import Letter, LetterFilter

__all__ = ["letter_document", "list_all", "say_sums", "show"]

_HEADINGS = ("letter", "died", "reason", "code", "tenant", "task", "state", "detail")
_COLUMNS = "{:<12} {:<20} {:<8} {:<24} {:<16} {:<10} {:<9} {}"

AllOption = Annotated[bool, typer.Option("--all", help="Also those redriven or dropped.")]
RowsOption = Annotated[int, typer.Option("--limit", min=0, help="Rows to show; 0: all.")]


def list_all(
    *,
    tenant: TenantOption = None,
    task: TaskOption = None,
    reason: ReasonOption = None,
    code: CodeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    topic: TopicOption = None,
    with_resolved: AllOption = False,
    limit: RowsOption = 50,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List dead letters that nobody has redriven or dropped, and count them by code."""
    with failing_well(json=json):
        wanted = letter_filter(
            now=SystemClock().now(),
            tenant=tenant,
            task=task,
            reason=reason,
            code=code,
            since=since,
            until=until,
            topic=topic,
            with_resolved=with_resolved,
        )
        box = box_of(Target(data=data, given_kafka=kafka))
        asyncio.run(_list(box, wanted, limit or None, Out(json=json)))


def show(
    letter: Annotated[str, typer.Argument(help="The letter as partition/offset.")],
    *,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the original value, byte for byte, here.")
    ] = None,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Show one letter: why it died, what the provider said, its headers and body."""
    with failing_well(json=json):
        (place,) = parse_places([letter])
        out = Out(json=json)
        box = box_of(Target(data=data, given_kafka=kafka))
        found, resolution = asyncio.run(box.find(place))
        if save is not None:
            _save(save, found.record.value or b"")
        out.document(_whole_document(found, resolution))
        _say_whole(out, found, resolution)


def _save(path: Path, value: bytes) -> None:
    try:
        path.write_bytes(value)
    except OSError as error:
        raise WrongUse(
            f"{path} cannot be written: {error.strerror}; name another --save"
        ) from error


async def _list(box: DeadLetterBox, wanted: LetterFilter, limit: int | None, out: Out) -> None:
    survey = await box.survey()
    selection = await box.select(survey, wanted, limit=limit)
    rows = Rows(out)
    if selection.total:
        out.say(_COLUMNS.format(*_HEADINGS))
        async with aclosing(box.letters(survey, wanted)) as letters:
            async for letter in letters:
                if letter.place in selection.places:
                    rows.add(letter_document(letter), _row(letter))
    sums = [{"reason": r, "code": c, "letters": n} for (r, c), n in _sorted(selection)]
    rows.end({"sums": sums, "total": selection.total})
    say_sums(out, selection)
    if rows.count < selection.total:
        out.say(f"{rows.count} of {selection.total} are shown; --limit 0 shows all")


def say_sums(out: Out, selection: Selection) -> None:
    """How many letters there are by code."""
    if not selection.total:
        out.say("no dead letter fits; `penstock dlq list --all` shows the resolved ones too")
        return
    out.say(f"{selection.total} dead letter{'s' if selection.total != 1 else ''}:")
    for (reason, code), count in _sorted(selection):
        out.say(f"  {count:>7}  {reason:<8} {visible(code)}")


def letter_document(letter: Letter) -> dict[str, Any]:
    """A letter for programs, without its body."""
    dead = letter.dead
    return {
        "letter": str(letter.place),
        "at": dead.at.isoformat(timespec="milliseconds"),
        "reason": dead.reason.value,
        "code": dead.code,
        "detail": dead.detail,
        "tenant": letter.tenant,
        "task": letter.task,
        "job": letter.job,
        "attempts": dead.attempts,
        "by": dead.by,
        "from": f"{dead.topic}/{dead.partition}/{dead.offset}",
        "source": letter.source,
        "state": letter.resolved.value if letter.resolved else "dead",
    }


def _sorted(selection: Selection) -> list[tuple[tuple[str, str], int]]:
    return sorted(selection.sums.items(), key=lambda item: -item[1])


def _row(letter: Letter) -> str:
    dead = letter.dead
    return _COLUMNS.format(
        str(letter.place),
        f"{dead.at:%Y-%m-%d %H:%M:%S}",
        dead.reason.value,
        visible(dead.code),
        visible(letter.tenant),
        visible(letter.task),
        letter.resolved.value if letter.resolved else "dead",
        visible(dead.detail)[:100],
    ).rstrip()


def _whole_document(letter: Letter, resolution: Resolution | None) -> dict[str, Any]:
    value = letter.record.value
    return {
        **letter_document(letter),
        "answer": letter.dead.answer,
        "key": _text(letter.record.key),
        "headers": [[name, _text(raw)] for name, raw in letter.headers],
        "body": _text(value),
        "body_bytes": len(value or b""),
        "resolution": None
        if resolution is None
        else {
            "kind": resolution.kind.value,
            "at": resolution.at.isoformat(timespec="milliseconds"),
            "by": resolution.by,
            "to": resolution.to,
            "job": resolution.job,
            "note": resolution.note,
        },
    }


def _say_whole(out: Out, letter: Letter, resolution: Resolution | None) -> None:
    for name, value in letter_document(letter).items():
        if value not in (None, ""):
            out.say(f"{name:<10} {visible(str(value))}")
    if letter.dead.answer:
        out.say(f"{'answer':<10} {visible(letter.dead.answer)}")
    if resolution is not None:
        out.say(f"{'resolved':<10} {_resolution_line(resolution)}")
    out.say(f"{'key':<10} {visible(letter.record.key)}")
    out.say("headers")
    for name, raw in letter.headers:
        out.say(f"  {visible(name)}: {visible(raw)}")
    out.say("body")
    out.say(visible(_pretty(letter), keep_lines=True))


def _resolution_line(resolution: Resolution) -> str:
    parts = [f"{resolution.kind.value} at {resolution.at:%Y-%m-%d %H:%M:%S} by {resolution.by}"]
    if resolution.job:
        parts.append(f"as job {resolution.job}, written to {resolution.to}")
    if resolution.note:
        parts.append(resolution.note)
    return visible("; ".join(parts))


def _pretty(letter: Letter) -> bytes:
    if letter.record.value is None:
        return b"(none was kept: the record was too large; penstock_dead_body_* tell its hash)"
    try:
        return orjson.dumps(orjson.loads(letter.data), option=orjson.OPT_INDENT_2)
    except ValueError:
        return letter.record.value


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")
