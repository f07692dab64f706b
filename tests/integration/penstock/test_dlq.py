"""`penstock dlq` as a program against a real broker; the tenant keeps tests apart."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from penstock.errors import ExitStatus
from penstock_contracts.topics import DEAD, request_topics
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import Record
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.kafka.scan import KafkaScan
from penstock_kit.lanes.outcomes import Dead
from penstock_kit.settings import KafkaSettings

from tests.support.dead_letters import EXHAUSTED, MALFORMED, bury
from tests.support.job_records import job_id, request_record

LETTERS = 120


@dataclass
class Ground:
    """A broker with dead letters of one tenant, whose task has a topic of its own."""

    kafka: KafkaSettings
    producer: KafkaProducer
    tenant: str
    topic: str
    tasks: Path

    async def fill(self, count: int, *, dead: Dead = EXHAUSTED, **changes: Any) -> None:
        """Write letters as a worker does."""
        records = [
            replace(request_record(job_id(n, tenant=self.tenant), tenant=self.tenant), **changes)
            for n in range(count)
        ]
        await asyncio.gather(
            *(bury(self.producer, replace(r, topic=self.topic), dead) for r in records)
        )

    def command(self, *words: str) -> subprocess.Popen[str]:
        """`penstock dlq` with these words."""
        return subprocess.Popen(
            [sys.executable, "-m", "penstock", "dlq", *words, "--kafka", self.kafka.bootstrap],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PENSTOCK_TASKS_FILE": str(self.tasks),
                "PENSTOCK_AUTH__VERIFY_PRODUCERS": "false",
                "PENSTOCK_DEV__DATA": str(self.tasks.parent / "nothing"),
            },
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        process = self.command(*words)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def read(self, *words: str) -> Any:
        """What a command says to programs."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    async def written(self) -> list[Record]:
        """What lies in the request topic."""
        batches = KafkaScan(self.kafka).batches([self.topic])
        return [record async for batch in batches for record in batch.records]

    async def jobs(self) -> list[bytes]:
        """The job of each record of the request topic."""
        return [dict(record.headers)["ce_subject"] for record in await self.written()]


@pytest.fixture
async def ground(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Ground]:
    name = f"t-{uuid4().hex[:8]}"
    topic = f"ai.dlq-{name}.requests.v1"
    tasks = tmp_path / "tasks.yaml"
    tasks.write_text(f"tasks:\n  chat: {{kind: chat, topic: {topic}}}\n")
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(
        kafka, [DEAD, *request_topics("chat", topic, workers="llm-worker")], partitions=3
    )
    producer = KafkaProducer(kafka, client_id="dlq-tests")
    await producer.start()
    yield Ground(kafka, producer, name, topic, tasks)
    await producer.stop()


async def test_list_counts_by_code_and_shows_what_fits(ground: Ground) -> None:
    await ground.fill(3)
    await ground.fill(1, dead=MALFORMED)

    document = await asyncio.to_thread(ground.read, "list", "--tenant", ground.tenant)
    text = await asyncio.to_thread(ground.run, "list", "--tenant", ground.tenant, "--limit", "2")

    assert document["total"] == len(document["letters"]) == 4
    assert {(row["code"], row["letters"]) for row in document["sums"]} == {
        ("attempts_exhausted", 3),
        ("schema_mismatch", 1),
    }
    assert "2 of 4 are shown" in text.stdout
    assert "4 dead letters:" in text.stdout


async def test_show_tells_everything_and_steers_no_terminal(ground: Ground, tmp_path: Path) -> None:
    body = b'{"task": "chat", "x": "\x1b[2J\xc2\x9b1m"'
    await ground.fill(1, dead=replace(MALFORMED, answer="no\x1b]0;evil\x07"), value=body)
    listed = await asyncio.to_thread(ground.read, "list", "--tenant", ground.tenant)
    place, saved = listed["letters"][0]["letter"], tmp_path / "body"

    shown = await asyncio.to_thread(ground.run, "show", place, "--save", str(saved))
    document = await asyncio.to_thread(ground.read, "show", place)

    assert shown.returncode == 0, shown.stderr
    assert not {"\x1b", "\x9b", "\x07"} & set(shown.stdout)
    assert "\\x1b[2J\\x9b1m" in shown.stdout
    assert "schema_mismatch" in shown.stdout
    assert saved.read_bytes() == body
    assert document["tenant"] == ground.tenant
    assert document["from"] == f"{ground.topic}/0/0"
    assert document["resolution"] is None


async def test_dry_run_says_what_redrive_then_does_and_writes_nothing(ground: Ground) -> None:
    await ground.fill(LETTERS)
    await ground.fill(5, dead=MALFORMED)
    words = ("redrive", "--tenant", ground.tenant, "--code", "attempts_*")

    planned = await asyncio.to_thread(ground.read, *words, "--dry-run")
    assert await ground.jobs() == []
    done = await asyncio.to_thread(ground.read, *words, "--yes", "--rate", "1000/s")

    assert planned["would_redrive"] == done["redriven"] == LETTERS
    essence = [
        {(row["letter"], row["new_job"], row["to"]) for row in document["letters"]}
        for document in (planned, done)
    ]
    assert essence[0] == essence[1]
    jobs = await ground.jobs()
    assert len(jobs) == len(set(jobs)) == LETTERS
    assert {job.decode() for job in jobs} == {row["new_job"] for row in planned["letters"]}


async def test_redrive_twice_writes_nothing_the_second_time(ground: Ground) -> None:
    await ground.fill(20)
    words = ("redrive", "--tenant", ground.tenant, "--yes", "--rate", "1000/s")

    await asyncio.to_thread(ground.read, *words)
    again = await asyncio.to_thread(ground.read, *words)
    left = await asyncio.to_thread(ground.read, "list", "--tenant", ground.tenant)
    all_of_them = await asyncio.to_thread(ground.read, "list", "--tenant", ground.tenant, "--all")

    assert (again["redriven"], left["total"], all_of_them["total"]) == (0, 0, 20)
    assert {row["state"] for row in all_of_them["letters"]} == {"redriven"}
    assert len(await ground.jobs()) == 20


async def test_redrive_killed_half_way_and_run_again_makes_each_job_once(ground: Ground) -> None:
    await ground.fill(LETTERS)
    words = ("redrive", "--tenant", ground.tenant, "--yes")

    process = ground.command(*words, "--rate", "40/s")
    while len(await ground.jobs()) < LETTERS // 4:
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    half = len(await ground.jobs())
    assert half < LETTERS
    done = await asyncio.to_thread(ground.read, *words, "--rate", "1000/s")

    jobs = await ground.jobs()
    assert len(set(jobs)) == LETTERS
    assert len(jobs) == half + done["redriven"]
    assert len(jobs) - LETTERS <= 64  # those between the two acknowledgements, at most


async def test_redrive_by_two_operators_at_once_makes_each_job_once(ground: Ground) -> None:
    await ground.fill(LETTERS)
    words = ("redrive", "--tenant", ground.tenant, "--yes", "--rate", "100/s")

    both = [ground.command(*words) for _ in range(2)]
    ends = await asyncio.gather(*(asyncio.to_thread(process.communicate) for process in both))

    assert [process.returncode for process in both] == [0, 0], ends
    assert len(set(await ground.jobs())) == LETTERS
    left = await asyncio.to_thread(ground.read, "list", "--tenant", ground.tenant)
    assert left["total"] == 0


async def test_redrive_with_set_changes_the_body_of_each(ground: Ground) -> None:
    await ground.fill(3, dead=MALFORMED)

    refused = await asyncio.to_thread(ground.run, "redrive", "--tenant", ground.tenant)
    edited = await asyncio.to_thread(
        ground.read, "redrive", "--tenant", ground.tenant, "--set", "model=small"
    )

    assert refused.returncode == ExitStatus.FAILED
    assert "correct it with --set or --edit" in refused.stdout
    assert edited["redriven"] == 3
    bodies = [json.loads(record.value or b"") for record in await ground.written()]
    assert {body["model"] for body in bodies} == {"small"}


async def test_redrive_with_edit_gives_one_letter_a_new_body(
    ground: Ground, tmp_path: Path
) -> None:
    await ground.fill(1, dead=MALFORMED, value=b"{")
    listed = await asyncio.to_thread(ground.read, "list", "--tenant", ground.tenant)
    place = listed["letters"][0]["letter"]
    file = tmp_path / "new.json"
    file.write_text('{"task": "chat", "input": {"messages": [{"role": "user", "content": "a"}]}}')

    done = await asyncio.to_thread(ground.read, "redrive", place, "--edit", str(file))
    shown = await asyncio.to_thread(ground.read, "show", place)
    again = await asyncio.to_thread(ground.run, "redrive", place, "--edit", str(file))

    assert done["redriven"] == 1
    assert shown["resolution"]["kind"] == "redriven"
    assert shown["resolution"]["job"] == done["letters"][0]["new_job"]
    assert f"{place} is redriven already and is left alone" in again.stdout
    assert len(await ground.jobs()) == 1


async def test_drop_leaves_the_letters_in_the_topic(ground: Ground) -> None:
    await ground.fill(4, dead=MALFORMED)
    words = ("drop", "--tenant", ground.tenant, "--note", "test data")

    planned = await asyncio.to_thread(ground.read, *words, "--dry-run")
    done = await asyncio.to_thread(ground.read, *words)
    after = await asyncio.to_thread(ground.read, "list", "--tenant", ground.tenant)
    kept = await asyncio.to_thread(ground.read, "list", "--tenant", ground.tenant, "--all")

    assert (planned["would_drop"], done["dropped"], after["total"], kept["total"]) == (4, 4, 0, 4)
    assert await ground.jobs() == []


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("redrive",), ExitStatus.WRONG_USE, "no letters are named"),
        (("drop",), ExitStatus.WRONG_USE, "no letters are named"),
        (("show", "3"), ExitStatus.WRONG_USE, "for example 3/17"),
        (("show", "2/999999"), ExitStatus.NOT_FOUND, "dlq list --all"),
        (("redrive", "2/999999"), ExitStatus.NOT_FOUND, "dlq list --all"),
        (("redrive", "1/1", "--rate", "fast"), ExitStatus.WRONG_USE, "50/s"),
        (("redrive", "1/1", "--set", "model"), ExitStatus.WRONG_USE, "--set model=small"),
        (("redrive", "--code", "x", "--edit", "f"), ExitStatus.WRONG_USE, "name that letter"),
        (("redrive", "1/1", "--edit", "/no/file"), ExitStatus.WRONG_USE, "cannot be read"),
        (("redrive", "1/1", "--producer", "p"), ExitStatus.WRONG_USE, "PRODUCER_SECRET"),
        (("list", "--since", "yesterday"), ExitStatus.WRONG_USE, "is no instant"),
    ],
)
async def test_wrong_use_says_what_to_write(
    ground: Ground, words: tuple[str, ...], status: ExitStatus, sentence: str
) -> None:
    done = await asyncio.to_thread(ground.run, *words)

    assert done.returncode == status, done.stderr
    assert sentence in done.stderr


async def test_redrive_of_many_when_nobody_can_be_asked_then_nothing_happens(
    ground: Ground,
) -> None:
    await ground.fill(11)

    done = await asyncio.to_thread(ground.run, "redrive", "--tenant", ground.tenant)

    assert done.returncode == ExitStatus.WRONG_USE
    assert "11 letters are meant" in done.stderr
    assert await ground.jobs() == []


async def test_list_when_no_broker_answers_then_says_so(ground: Ground) -> None:
    away = replace(ground, kafka=KafkaSettings(bootstrap="127.0.0.1:1"))

    done = await asyncio.to_thread(away.run, "list")

    assert done.returncode == ExitStatus.UNREACHABLE
    assert "penstock dev up" in done.stderr
