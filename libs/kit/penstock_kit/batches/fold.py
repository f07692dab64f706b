"""Folds the topics of files and batches into their view in Redis: live, and when it is rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock_contracts.batches import BatchEventAdapter, BatchRequest, BatchState
from penstock_contracts.codec import decode_model
from penstock_contracts.errors import ContractError
from penstock_contracts.files import FileRecord
from penstock_contracts.topics import BATCH_EVENTS, BATCH_REQUESTS, BATCHES, FILES
from pydantic import ValidationError

from penstock_kit.batches.events import KeptEvent, RedisBatchEvents
from penstock_kit.batches.records import first_state, shelved_batch, shelved_file
from penstock_kit.batches.shelf import RedisShelf, Shelved
from penstock_kit.errors import Rejected
from penstock_kit.jobs.coverage import FoldMarks, event_marks
from penstock_kit.kafka.ports import Record
from penstock_kit.redis_client import RedisClient
from penstock_kit.tenancy import TenantScope

__all__ = ["BATCH_TOPICS", "BatchFold"]

BATCH_TOPICS = (FILES.name, BATCH_REQUESTS.name, BATCHES.name, BATCH_EVENTS.name)
"""What the view is made of, in the order in which a rebuild reads it."""


class BatchFold:
    """Idempotent: versions and numbers decide, so that live folding and a rebuild may overlap."""

    def __init__(self, redis: RedisClient, *, on_skip: Callable[[Record, Rejected], None]) -> None:
        self._files = RedisShelf(redis, "file")
        self._batches = RedisShelf(redis, "batch")
        self._events = RedisBatchEvents(redis)
        self._marks = FoldMarks(redis, topic=BATCH_EVENTS.name)
        self._on_skip = on_skip

    async def take(self, records: Sequence[Record]) -> None:
        """Fold records of `BATCH_TOPICS` in order; what is malformed is skipped and told.

        Raises:
            TableAway: Redis does not answer.
        """
        files: list[Shelved] = []
        batches: list[Shelved] = []
        events: list[tuple[TenantScope, str, KeptEvent]] = []
        for record in records:
            try:
                if record.topic == FILES.name:
                    if record.value is None:
                        # In order: what stood before the tombstone must not come after it.
                        await self._files.put_many(files)
                        files = []
                        await self._drop_file(record)
                    else:
                        files.append(shelved_file(decode_model(FileRecord, record.value)))
                elif record.value is not None and record.topic == BATCH_EVENTS.name:
                    events.append(_event(record))
                elif record.value is not None:
                    batches.append(shelved_batch(_batch(record)))
            except (ContractError, ValidationError, UnicodeDecodeError) as error:
                kind = type(error).__name__
                self._on_skip(record, Rejected(f"not a record of its topic ({kind})", code="bad"))
            except Rejected as error:
                self._on_skip(record, error)
        await self._files.put_many(files)
        await self._batches.put_many(batches)
        await self._events.keep(events)
        ends = {record.place: record.offset + 1 for record in records}
        await self._marks.note(event_marks(ends, topic=BATCH_EVENTS.name))

    async def _drop_file(self, record: Record) -> None:
        await self._files.drop(_scope(record), (record.key or b"").decode())


def _batch(record: Record) -> BatchState:
    assert record.value is not None
    if record.topic == BATCH_REQUESTS.name:
        return first_state(decode_model(BatchRequest, record.value))
    return decode_model(BatchState, record.value)


def _event(record: Record) -> tuple[TenantScope, str, KeptEvent]:
    assert record.value is not None
    event = BatchEventAdapter.validate_json(record.value)
    return (
        _scope(record),
        event.batch,
        KeptEvent(event.sequence_number, event.type, record.value),
    )


def _scope(record: Record) -> TenantScope:
    tenant = (dict(record.headers).get("ce_tenant") or b"").decode()
    if not tenant:
        raise Rejected("the record names no tenant", code="bad_identity")
    return TenantScope(tenant)
