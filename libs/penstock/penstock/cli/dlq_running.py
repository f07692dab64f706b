"""One run of a command that changes dead letters: select, ask, do, report."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import typer
from penstock_kit.clock import SystemClock
from penstock_kit.kafka.producer import KafkaProducer

from penstock.cli.console import Out, complain, explain
from penstock.cli.dlq import letter_document, say_sums
from penstock.cli.dlq_options import box_of
from penstock.cli.dlq_rows import Rows
from penstock.cli.progress import step_progress
from penstock.cli.target import Target
from penstock.cli.visible import visible
from penstock.cli.who import operator
from penstock.errors import ExitStatus, WrongUse, exit_status
from penstock.operating.dlq.box import NoLetter, Selection, Survey
from penstock.operating.dlq.letters import Letter, LetterFilter
from penstock.operating.dlq.redriving import Dropping, Outcome, Redriving, Report, rehearse
from penstock.operating.dlq.replacing import Replacing

__all__ = ["ASK_ABOVE", "Change"]

ASK_ABOVE = 10
"""Letters; as many as one reads at a glance."""
_SHOWN_REFUSALS = 20


class Change:
    """Selects letters, asks, does, reports; ends the command with its exit status."""

    def __init__(
        self, target: Target, wanted: LetterFilter, limit: int | None, out: Out, *, asks: bool
    ) -> None:
        if wanted.is_everything and limit is None:
            raise WrongUse(
                "no letters are named; give coordinates like 3/17, a filter like --code or"
                " --since, or --limit"
            )
        self._kafka = target.kafka
        self._box = box_of(target)
        self._wanted = wanted
        self._limit = limit
        self._out = out
        self._rows = Rows(out)
        self._refusals = 0
        self._asks = asks

    async def rehearse(self, replacing: Replacing) -> None:
        """Say of each letter what `redrive` would do; write nothing."""
        survey, selection = await self._select()
        async with aclosing(self._letters(survey, selection)) as letters:
            report = await rehearse(letters, replacing, self._tell_rehearsed)
        self._end(report, "would_redrive", "would be redriven; nothing was written")

    async def redrive(self, replacing: Replacing, rate: float) -> None:
        """Run the letters again."""
        survey, selection = await self._select()
        self._confirm(selection, "redrive")
        redriven = 0
        with step_progress("redriving") as say:

            def tell(outcome: Outcome) -> None:
                nonlocal redriven
                self._tell_redriven(outcome)
                redriven += outcome.refusal is None
                say(f"redriving: {redriven} of {len(selection.places)}")

            try:
                async with self._producer() as producer:
                    redriving = Redriving(
                        producer=producer,
                        replacing=replacing,
                        clock=SystemClock(),
                        by=operator(),
                        rate=rate,
                        tell=tell,
                    )
                    async with aclosing(self._letters(survey, selection)) as letters:
                        report = await redriving.run(letters)
            except asyncio.CancelledError:
                sys.stderr.write(f"interrupted: {redriven} redriven; {_GO_ON}\n")
                raise
        self._end(report, "redriven", "redriven")

    async def drop(self, note: str, *, is_dry: bool) -> None:
        """Mark the letters as dropped."""
        survey, selection = await self._select()
        if is_dry:
            report = Report(done=len(selection.places))
            say_sums(self._out, selection)
            self._end(report, "would_drop", "would be dropped; nothing was written")
            return
        self._confirm(selection, "drop")
        async with self._producer() as producer:
            dropping = Dropping(producer=producer, clock=SystemClock(), by=operator(), note=note)
            async with aclosing(self._letters(survey, selection)) as letters:
                report = await dropping.run(letters)
        self._end(report, "dropped", "dropped")

    async def _select(self) -> tuple[Survey, Selection]:
        survey = await self._box.survey()
        selection = await self._box.select(survey, self._wanted, limit=self._limit)
        for place in sorted((self._wanted.places or frozenset()) - selection.places):
            if self._limit is not None and selection.total > self._limit:
                break
            kind = survey.resolved.get(place)
            if kind is None:
                raise NoLetter(
                    f"there is no dead letter at {place} that fits; `penstock dlq list --all`"
                    " shows all that the topic still keeps"
                )
            self._out.say(f"{place} is {kind.value} already and is left alone")
        return survey, selection

    async def _letters(self, survey: Survey, selection: Selection) -> AsyncGenerator[Letter, None]:
        if not selection.places:
            return
        async with aclosing(self._box.letters(survey, self._wanted)) as letters:
            async for letter in letters:
                if letter.place in selection.places:
                    yield letter

    def _confirm(self, selection: Selection, verb: str) -> None:
        count = len(selection.places)
        if not self._asks or count <= ASK_ABOVE:
            return
        if self._out.json or not sys.stdin.isatty():
            raise WrongUse(
                f"{count} letters are meant and nobody can be asked; look with --dry-run, then"
                " give --yes"
            )
        say_sums(self._out, selection)
        if not typer.confirm(f"{verb} {count} letters?", err=True):
            raise typer.Exit(ExitStatus.FAILED)

    @asynccontextmanager
    async def _producer(self) -> AsyncGenerator[KafkaProducer, None]:
        producer = KafkaProducer(self._kafka, client_id="penstock-dlq")
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    def _tell_rehearsed(self, outcome: Outcome) -> None:
        replacement = outcome.replacement
        if replacement is None:
            self._tell_refused(outcome)
            return
        letter, topic = outcome.letter, replacement.record.topic
        remarks = "".join(f"; {remark}" for remark in replacement.remarks)
        self._rows.add(
            _redriven_document(outcome),
            f"{letter.place}: job {visible(letter.job)} (tenant {visible(letter.tenant)}, task"
            f" {visible(letter.task)}, {visible(letter.dead.code)}) -> job {replacement.job} on"
            f" {topic}{visible(remarks)}",
        )

    def _tell_redriven(self, outcome: Outcome) -> None:
        if outcome.refusal is None:
            self._rows.add(_redriven_document(outcome), None)
        else:
            self._tell_refused(outcome)

    def _tell_refused(self, outcome: Outcome) -> None:
        assert outcome.refusal is not None
        self._refusals += 1
        document = {
            **letter_document(outcome.letter),
            "refused": {"code": outcome.refusal.code, "why": str(outcome.refusal)},
        }
        line = f"{outcome.letter.place}: left alone: {visible(str(outcome.refusal))}"
        self._rows.add(document, line if self._refusals <= _SHOWN_REFUSALS else None)

    def _end(self, report: Report, key: str, words: str) -> None:
        refused = report.refused.total()
        trouble = report.trouble
        rest = {key: report.done, "refused": dict(report.refused)}
        if trouble is not None:
            rest["error"] = explain(trouble)[0]
        self._rows.end(rest)
        self._out.say(f"{report.done} {words}")
        if refused:
            self._out.say(f"{refused} left alone:")
            for code, count in report.refused.most_common():
                self._out.say(f"  {count:>7}  {visible(code)}")
        if trouble is not None:
            what, status = f"stopped after {report.done}: {trouble}", exit_status(trouble)
            complain(what, _GO_ON, status, json=self._out.json)
            raise typer.Exit(status)
        if refused:
            raise typer.Exit(ExitStatus.FAILED)


_GO_ON = "run the same command again; what was redriven is not run twice"


def _redriven_document(outcome: Outcome) -> dict[str, object]:
    assert outcome.replacement is not None
    return {
        **letter_document(outcome.letter),
        "new_job": outcome.replacement.job,
        "to": outcome.replacement.record.topic,
        "remarks": list(outcome.replacement.remarks),
    }
