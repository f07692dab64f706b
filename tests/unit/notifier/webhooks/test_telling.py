from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import orjson
import pytest
from notifier.webhooks.metrics import WebhookMetrics
from notifier.webhooks.noticing import is_wanted
from notifier.webhooks.telling import Teller
from penstock_contracts.batches import BatchRequest, BatchState, BatchStatus
from penstock_contracts.codec import encode_model
from penstock_contracts.events import (
    Cancelled,
    Completed,
    DeltaEvent,
    Expired,
    Failed,
    JobEvent,
    JobStatus,
    Started,
    UnknownOutcome,
)
from penstock_contracts.ids import JobIds, new_uuid7
from penstock_contracts.parts import ChatOutput, Choice, JobError, TextDelta
from penstock_contracts.replies import ReplyAddress
from penstock_contracts.state import JobState
from penstock_contracts.topics import WEBHOOK_DELIVERIES, Cleanup, Topic
from penstock_contracts.webhooks import WebhookEndpoint
from penstock_kit.batches.records import batch_record
from penstock_kit.errors import Busy, Rejected
from penstock_kit.jobs.encoding import Face, encode_job_event
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import OutRecord, Record
from penstock_kit.lanes.outcomes import Delivery, Done
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.tenancy import TenantScope
from penstock_kit.webhooks.endpoints import WebhookEndpoints

from tests.support.webhooks import ENDPOINT, NOW, an_endpoint

IDS = JobIds(b"i" * 32)
JOB = IDS.issue(tenant="acme", uuid=new_uuid7(now_ms=1, randomness=bytes(10)))
AT = NOW + timedelta(minutes=1)
ERROR = JobError(type="server_error", code="boom", message="It broke; try again.")
BATCH = "batch_" + "b" * 42


def completed() -> Completed:
    output = ChatOutput(choices=[Choice(index=0, text="hi", finish_reason="stop")])
    return Completed(job=JOB, attempt=1, seq=3, at=AT, output=output)


T = TypeVar("T")


class Views(dict[tuple[str, str], T]):
    """Implements `Ends` and `BatchShelf`: what callers see."""

    async def get(self, scope: TenantScope, found: str) -> T | None:  # type: ignore[override]
        return super().get((scope.tenant, found))


REPLY = ReplyAddress("ai.replies.billing.acme", "call-7")
REPLIES = Topic(
    name=REPLY.topic,
    key="job id",
    about="Replies.",
    partitions=1,
    cleanup=Cleanup.DELETE,
    retention_ms=None,
    messages=(),
    written_by=(),
    read_by=(),
)


class Desk:
    """A teller over memory."""

    def __init__(self, *endpoints: WebhookEndpoint) -> None:
        self.kafka = MemoryKafka([WEBHOOK_DELIVERIES, REPLIES], partitions=1)
        self.producer = self.kafka.producer()
        self.table: Views[JobState] = Views()
        self.batches: Views[bytes] = Views()
        known = WebhookEndpoints()
        for endpoint in endpoints:
            known.apply(endpoint.id, encode_model(endpoint))
        self.teller = Teller(
            endpoints=known,
            table=self.table,
            batches=self.batches,
            producer=self.producer,
            ids=IDS,
            metrics=WebhookMetrics(Metrics()),
        )

    async def tell(self, record: Record) -> None:
        outcome = await self.teller(Delivery(record, 1, is_suspect=False))
        assert outcome == Done()

    def fold(self, status: JobStatus, tenant: str = "acme") -> None:
        self.table[tenant, JOB] = JobState(job=JOB, tenant=tenant, status=status)

    def told(self) -> list[dict[str, Any]]:
        return [
            orjson.loads(record.value or b"")
            for record in self.kafka.records(WEBHOOK_DELIVERIES.name)
        ]


@pytest.fixture
async def desk() -> Desk:
    made = Desk(an_endpoint(), an_endpoint(1, events=["batch.*"]), an_endpoint(2, tenant="rival"))
    await made.producer.start()
    return made


def a_record(out: OutRecord) -> Record:
    return Record(out.topic, 0, 7, out.key, out.value, out.headers)


def an_end(event: JobEvent, *, tenant: str = "acme", face: Face | None = None) -> Record:
    return a_record(
        encode_job_event(
            event, tenant=tenant, user=None, source="/w", face=face or Face("response")
        )
    )


def a_batch(status: BatchStatus, /, **metadata: str) -> BatchState:
    request = BatchRequest(
        id=BATCH,
        tenant="acme",
        user="ann",
        input_file_id="file-" + "f" * 42,
        endpoint="/v1/responses",
        created_at=NOW,
        expires_at=NOW + timedelta(days=1),
        metadata=metadata,
    )
    at = {f"{status.value}_at": AT} if status.is_terminal else {}
    return BatchState.model_validate({"request": request, "version": 4, "status": status, **at})


def a_batch_record(state: BatchState) -> Record:
    return a_record(batch_record(state, AT))


@pytest.mark.parametrize(
    ("event", "face", "expected"),
    [
        (completed(), Face("response", "stop"), "response.completed"),
        (completed(), Face("response", "tool_calls"), "response.completed"),
        (completed(), Face("response", "length"), "response.incomplete"),
        (completed(), Face("response", "content_filter"), "response.incomplete"),
        (Failed(job=JOB, attempt=1, seq=2, at=AT, error=ERROR), None, "response.failed"),
        (Cancelled(job=JOB, attempt=1, seq=2, at=AT), None, "response.cancelled"),
        (Expired(job=JOB, attempt=1, seq=1, at=AT, deadline=AT), None, "response.failed"),
        (UnknownOutcome(job=JOB, attempt=2, seq=1, at=AT, error=ERROR), None, "response.failed"),
    ],
)
async def test_end_of_a_response_is_told_to_each_endpoint_that_wants_it(
    desk: Desk, event: JobEvent, face: Face | None, expected: str
) -> None:
    record = an_end(event, face=face)
    desk.fold(JobStatus(event.type))

    assert is_wanted(record)
    await desk.tell(record)
    await desk.tell(record)

    first, again = desk.told()
    assert first == again
    assert first["type"] == expected
    assert first["object"] == "event"
    assert first["data"] == {"id": "resp_" + JOB.removeprefix("job_")}
    assert first["created_at"] == int(AT.timestamp())
    keys = {record.key for record in desk.kafka.records(WEBHOOK_DELIVERIES.name)}
    assert keys == {ENDPOINT.encode()}


@pytest.mark.parametrize(
    "record",
    [
        an_end(completed(), face=Face("chat.completion")),
        an_end(completed(), face=Face("batch.line")),
        an_end(Started(job=JOB, attempt=1, seq=1, at=AT, task="chat", worker="w")),
        an_end(DeltaEvent(job=JOB, attempt=1, seq=2, at=AT, deltas=[TextDelta(text="a")])),
        a_record(encode_job_event(completed(), tenant="acme", user=None, source="/w")),
        a_batch_record(a_batch(BatchStatus.VALIDATING)),
        a_batch_record(a_batch(BatchStatus.IN_PROGRESS)),
        a_batch_record(a_batch(BatchStatus.CANCELLING)),
    ],
)
def test_other_records_are_not_even_handled(record: Record) -> None:
    assert not is_wanted(record)


async def test_end_that_the_table_does_not_have_yet_waits(desk: Desk) -> None:
    record = an_end(completed())

    with pytest.raises(Busy):
        await desk.tell(record)
    desk.fold(JobStatus.RUNNING)
    with pytest.raises(Busy):
        await desk.tell(record)

    assert desk.told() == []


async def test_end_that_the_table_never_gets_is_told_after_ten_minutes(desk: Desk) -> None:
    record = an_end(completed())
    waited_s = 0.0
    for looks in range(1, 1000):
        try:
            outcome = await desk.teller(Delivery(record, 1, is_suspect=False, deliveries=looks))
        except Busy as busy:
            waited_s += busy.retry_after_s
        else:
            assert outcome == Done()
            break

    assert len(desk.told()) == 1
    assert 500 < waited_s < 700


async def test_end_of_an_attempt_that_had_been_given_up_is_not_told(desk: Desk) -> None:
    desk.fold(JobStatus.COMPLETED)

    await desk.tell(an_end(Failed(job=JOB, attempt=1, seq=2, at=AT, error=ERROR)))

    assert desk.told() == []


async def test_forged_end_of_another_tenants_job_is_told_to_nobody(desk: Desk) -> None:
    desk.fold(JobStatus.COMPLETED, "rival")

    await desk.tell(an_end(completed(), tenant="rival"))

    assert desk.told() == []


async def test_end_that_nobody_wants_costs_no_look_up() -> None:
    desk = Desk(an_endpoint(events=["batch.*"]))
    await desk.producer.start()

    await desk.tell(an_end(completed()))

    assert desk.told() == []


async def test_end_long_before_the_endpoint_was_made_is_not_told() -> None:
    desk = Desk(an_endpoint(created_at=AT + timedelta(hours=1)))
    await desk.producer.start()
    desk.fold(JobStatus.COMPLETED)

    await desk.tell(an_end(completed()))

    assert desk.told() == []


@pytest.mark.parametrize("status", [one for one in BatchStatus if one.is_terminal])
async def test_end_of_a_batch_is_told_once_callers_see_it(desk: Desk, status: BatchStatus) -> None:
    state = a_batch(status)
    record = a_batch_record(state)

    assert is_wanted(record)
    with pytest.raises(Busy):
        await desk.tell(record)
    desk.batches["acme", BATCH] = encode_model(a_batch(BatchStatus.FINALIZING))
    with pytest.raises(Busy):
        await desk.tell(record)
    desk.batches["acme", BATCH] = encode_model(state)
    await desk.tell(record)

    kind = f"batch.{status.value}"
    assert [(one["type"], one["data"]["id"]) for one in desk.told()] == [(kind, BATCH)] * 2
    assert {one["created_at"] for one in desk.told()} == {int(AT.timestamp())}


async def test_batch_whose_metadata_look_like_an_end_is_not_told(desk: Desk) -> None:
    record = a_batch_record(a_batch(BatchStatus.IN_PROGRESS, status="completed"))

    assert is_wanted(record)
    await desk.tell(record)

    assert desk.told() == []


async def test_broken_records_are_refused(desk: Desk) -> None:
    whole = a_batch_record(a_batch(BatchStatus.COMPLETED))
    for record in (
        replace(whole, value=b"{}"),
        replace(whole, value=None),
        replace(an_end(completed()), value=b'{"job":"%s"}' % JOB.encode()),
        Record("ai.jobs.events.v1", 0, 3, b"no", b"{}", [("ce_surface", b"response")]),
    ):
        with pytest.raises(Rejected):
            await desk.tell(record)


def a_replied_end(event: JobEvent, reply: ReplyAddress = REPLY, face: Face | None = None) -> Record:
    out = encode_job_event(event, tenant="acme", user=None, source="/w", face=face, reply=reply)
    return a_record(out)


@pytest.mark.parametrize(
    "event",
    [
        completed(),
        Failed(job=JOB, attempt=1, seq=2, at=AT, error=ERROR),
        Cancelled(job=JOB, attempt=1, seq=2, at=AT),
        Expired(job=JOB, attempt=1, seq=1, at=AT, deadline=AT),
        UnknownOutcome(job=JOB, attempt=2, seq=1, at=AT, error=ERROR),
    ],
)
async def test_end_that_is_to_be_replied_to_is_written_as_it_is(
    desk: Desk, event: JobEvent
) -> None:
    end = a_replied_end(event)

    assert is_wanted(end)
    with pytest.raises(Busy):
        await desk.tell(end)
    desk.fold(JobStatus(event.type))
    await desk.tell(end)

    (reply,) = desk.kafka.records(REPLY.topic)
    assert (reply.key, reply.value) == (end.key, end.value)
    headers = dict(reply.headers)
    assert headers["correlation-id"] == b"call-7"
    assert headers["ce_id"] == dict(end.headers)["ce_id"]
    assert "reply-to" not in headers
    assert desk.told() == []


async def test_end_of_a_response_that_asks_for_a_reply_is_told_twice(desk: Desk) -> None:
    desk.fold(JobStatus.COMPLETED)

    await desk.tell(a_replied_end(completed(), face=Face("response")))

    assert len(desk.told()) == len(desk.kafka.records(REPLY.topic)) == 1


async def test_reply_to_a_topic_that_is_not_there_holds_nothing_up(desk: Desk) -> None:
    desk.fold(JobStatus.COMPLETED)

    await desk.tell(a_replied_end(completed(), ReplyAddress("ai.replies.gone.acme")))

    assert desk.kafka.records(REPLY.topic) == []


async def test_reply_of_an_attempt_that_had_been_given_up_is_not_written(desk: Desk) -> None:
    desk.fold(JobStatus.COMPLETED)

    await desk.tell(a_replied_end(Failed(job=JOB, attempt=1, seq=2, at=AT, error=ERROR)))

    assert desk.kafka.records(REPLY.topic) == []


async def test_forged_end_that_points_into_another_topic_is_refused(desk: Desk) -> None:
    desk.fold(JobStatus.COMPLETED)

    with pytest.raises(Rejected, match="reply-to"):
        await desk.tell(a_replied_end(completed(), ReplyAddress("ai.control.v1")))
