"""How a command about dead letters ends when the broker goes away under it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import orjson
import pytest
import typer
from penstock.cli.console import Out
from penstock.cli.dlq_running import Change
from penstock.cli.target import Target
from penstock.errors import ExitStatus
from penstock.operating.dlq.box import DeadLetterBox
from penstock.operating.dlq.editing import Edit
from penstock.operating.dlq.letters import LetterFilter
from penstock.operating.dlq.replacing import Replacing
from penstock_kit.clock import SystemClock
from penstock_kit.errors import Retryable
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.memory_scan import MemoryScan
from penstock_kit.kafka.scan import ScanBatch
from penstock_kit.tasks import TaskCatalog

from tests.support.dead_letters import Box


class BreakingScan(MemoryScan):
    """The third pass, behind survey and selection, breaks off at its end."""

    def __init__(self, kafka: MemoryKafka) -> None:
        super().__init__(kafka)
        self._passes = 0

    async def batches(self, topics: Sequence[str]) -> AsyncGenerator[ScanBatch, None]:
        self._passes += 1
        async for batch in super().batches(topics):
            yield batch
        if self._passes == 3:
            raise Retryable("no broker answers")


async def test_command_when_letters_cannot_be_read_to_the_end_says_so_in_both_documents(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box()
    await box.put()
    change = Change(
        Target(given_kafka="127.0.0.1:1"),
        LetterFilter(tenant="acme"),
        None,
        Out(json=True),
        asks=False,
    )
    monkeypatch.setattr(change, "_box", DeadLetterBox(BreakingScan(box.kafka)))
    replacing = Replacing(tasks=TaskCatalog.builtin(), clock=SystemClock(), edit=Edit())

    with pytest.raises(typer.Exit) as ended:
        await change.rehearse(replacing)

    said = capsys.readouterr()
    done, error = orjson.loads(said.out), orjson.loads(said.err)["error"]
    assert ended.value.exit_code == ExitStatus.UNREACHABLE
    assert (len(done["letters"]), done["would_redrive"]) == (1, 1)
    assert "cannot be read" in done["error"]
    assert error["status"] == "unreachable"
    assert "stopped after 1" in error["what"]
    assert "again" in error["fix"]
