"""Dead letters for tests, in a Kafka in memory and as the lanes write them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from penstock.operating.dlq.box import DeadLetterBox
from penstock.operating.dlq.letters import Letter, LetterFilter, Place
from penstock_contracts.dead import DeadReason
from penstock_contracts.topics import BUILTIN_TASKS, DEAD, all_topics
from penstock_kit.clock import SystemClock
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.memory_producer import MemoryProducer
from penstock_kit.kafka.memory_scan import MemoryScan
from penstock_kit.kafka.ports import Producer, Record
from penstock_kit.lanes.dead_letters import DeadLetters
from penstock_kit.lanes.outcomes import Dead

from tests.support.job_records import job_id, request_record

__all__ = ["EXHAUSTED", "MALFORMED", "Box", "bury"]

EXHAUSTED = Dead(
    DeadReason.FAILURE, "attempts_exhausted", "5 tries failed", attempts=5, answer="503 overloaded"
)
MALFORMED = Dead(DeadReason.POISON, "schema_mismatch", "input: missing")


async def bury(producer: Producer, record: Record, dead: Dead) -> None:
    """Write a letter as a worker does."""
    await DeadLetters(producer, clock=SystemClock(), by="llm-worker").write(record, dead)


class Box:
    """A deployment in memory with dead letters."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka(all_topics(BUILTIN_TASKS))
        self.box = DeadLetterBox(MemoryScan(self.kafka))
        self.producer: MemoryProducer = self.kafka.producer()
        self._jobs = 0

    async def put(
        self, *, dead: Dead = EXHAUSTED, tenant: str = "acme", task: str = "chat", **members: Any
    ) -> Place:
        """A request that died; where its letter lies."""
        self._jobs += 1
        record = request_record(job_id(self._jobs, tenant=tenant), tenant=tenant, task=task)
        if members:
            changed = request_record("x", tenant=tenant, task=task, **members)
            key = members.get("conversation")
            record = replace(record, value=changed.value, key=key.encode() if key else record.key)
        return await self.put_record(record, dead=dead)

    async def put_record(self, record: Record, *, dead: Dead = EXHAUSTED) -> Place:
        """A record that died as it is; where its letter lies."""
        before = {self._place(letter) for letter in self.kafka.records(DEAD.name)}
        await self.producer.start()
        await bury(self.producer, record, dead)
        (new,) = {self._place(letter) for letter in self.kafka.records(DEAD.name)} - before
        return new

    async def letter(self, place: Place) -> Letter:
        """A letter as operators see it."""
        found, _ = await self.box.find(place)
        return found

    async def letters(self, **words: Any) -> list[Letter]:
        """The letters that a filter means."""
        survey = await self.box.survey()
        return [letter async for letter in self.box.letters(survey, LetterFilter(**words))]

    @staticmethod
    def _place(record: Record) -> Place:
        return Place(record.partition, record.offset)
