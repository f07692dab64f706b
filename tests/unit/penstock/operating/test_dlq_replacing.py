from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from penstock.operating.dlq.editing import BadEdit, Edit, parse_assignment
from penstock.operating.dlq.letters import Letter
from penstock.operating.dlq.replacing import CannotRedrive, Replacing, Signer
from penstock_contracts.dead import DeadReason
from penstock_contracts.envelope import decode_event, encode_headers, signature_is_valid
from penstock_contracts.ids import derived_job_id
from penstock_contracts.retries import RetryNote, retry_headers
from penstock_kit.auth.producers import GATEWAY_PRODUCER, ProducerKeys, producer_secret
from penstock_kit.clock import SystemClock
from penstock_kit.intake import Intake
from penstock_kit.kafka.ports import OutRecord, Record
from penstock_kit.lanes.outcomes import Dead
from penstock_kit.tasks import TaskCatalog

from tests.support.dead_letters import EXHAUSTED, MALFORMED, Box
from tests.support.job_records import IDS, T0, job_id, request_record

TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def replacing(**options: Any) -> Replacing:
    given = {"tasks": TaskCatalog.builtin(), "clock": SystemClock(), "edit": Edit(), **options}
    return Replacing(**given)


def body_of(record: OutRecord) -> Any:
    return orjson.loads(record.value or b"")


async def letter_of(dead: Dead = EXHAUSTED, **members: Any) -> Letter:
    box = Box()
    return await box.letter(await box.put(dead=dead, **members))


async def letter_of_record(record: Record, dead: Dead = EXHAUSTED) -> Letter:
    box = Box()
    return await box.letter(await box.put_record(record, dead=dead))


async def test_replacement_is_a_new_job_with_an_id_that_follows_from_the_dead_job() -> None:
    letter = await letter_of()

    first, second = (replacing().replacement(letter) for _ in range(2))

    assert first.job == second.job
    assert first.job == derived_job_id(tenant="acme", source="/penstock/dlq", event_id=job_id(1))
    envelope, _ = decode_event(first.record.headers, first.record.value)
    assert (envelope.subject, envelope.tenant, envelope.user) == (first.job, "acme", "ann")
    assert first.record.key == first.job.encode()
    assert body_of(first.record)["metadata"] == {"redriven_from": job_id(1)}
    assert envelope.time is not None
    assert envelope.time > T0


async def test_replacement_of_a_letter_that_was_written_twice_is_the_same_job() -> None:
    """A worker that dies before its offset passes writes the letter of that record again."""
    box, request = Box(), request_record(job_id(1))

    twice = [await box.letter(await box.put_record(request)) for _ in range(2)]

    assert twice[0].place != twice[1].place
    assert len({replacing().replacement(letter).job for letter in twice}) == 1


async def test_replacement_keeps_body_trace_and_own_headers_and_drops_ours() -> None:
    note = RetryNote(source="ai.chat.requests.v1", failures=4, delay_ms=5)
    request = request_record(job_id(7), params={"tools": [{"default": None}]}, priority="low")
    own = [TRACE, ("x-team", b"\xffblue"), ("ce_shard", b"9"), ("ce_attempt", b"3")]
    headers = [*request.headers, *own, *retry_headers(note)]
    letter = await letter_of_record(
        replace(request, headers=headers, topic="ai.retries.v1.5s"), EXHAUSTED
    )

    record = replacing().replacement(letter).record

    named = dict(record.headers)
    assert (named["traceparent"], named["x-team"], named["ce_shard"]) == (
        TRACE[1],
        b"\xffblue",
        b"9",
    )
    assert not [name for name in named if name.startswith("penstock_") or name == "ce_attempt"]
    assert len(named) == len(record.headers)
    body = body_of(record)
    body.pop("metadata")
    assert body == orjson.loads(request.value or b"")
    assert record.topic == "ai.chat.requests.v1"


async def test_replacement_of_a_turn_keeps_the_key_of_its_conversation() -> None:
    letter = await letter_of(conversation="c-1")

    assert replacing().replacement(letter).record.key == b"c-1"


@pytest.mark.parametrize("limit", ["deadline", "ends_by"])
@pytest.mark.parametrize(("hours", "is_kept"), [(-1, False), (1, True)])
async def test_replacement_when_a_limit_has_passed_then_it_is_taken_out_and_said(
    hours: int, is_kept: bool, limit: str
) -> None:
    at = (SystemClock().now() + timedelta(hours=hours)).isoformat()
    members: dict[str, Any] = {limit: at}
    letter = await letter_of(**members)

    found = replacing().replacement(letter)

    assert (limit in body_of(found.record)) == is_kept
    assert any(limit in remark for remark in found.remarks) != is_kept


async def test_replacement_when_metadata_is_full_then_it_goes_without_and_says_so() -> None:
    letter = await letter_of(metadata={f"m{number}": "v" for number in range(16)})

    found = replacing().replacement(letter)

    assert "redriven_from" not in body_of(found.record)["metadata"]
    assert found.remarks == ("metadata is full: without redriven_from",)


async def test_replacement_of_a_redriven_job_names_the_job_before_it() -> None:
    letter = await letter_of(metadata={"redriven_from": "job_old"})

    found = replacing().replacement(letter)

    assert body_of(found.record)["metadata"] == {"redriven_from": job_id(1)}


@pytest.mark.parametrize(
    ("dead", "options", "code"),
    [
        (MALFORMED, {}, "poison"),
        (MALFORMED, {"force": True}, None),
        (MALFORMED, {"edit": Edit(assignments=(("model", "small"),))}, None),
        (Dead(DeadReason.POISON, "bad_signature", "no"), {}, "unproven_sender"),
        (
            Dead(DeadReason.POISON, "bad_signature", "no"),
            {"edit": Edit(assignments=(("model", "small"),))},
            "unproven_sender",
        ),
        (Dead(DeadReason.POISON, "foreign_job", "no"), {"force": True}, None),
        (EXHAUSTED, {"to": "ai.embed.requests.v1"}, "still_wrong_topic"),
        (EXHAUSTED, {"to": "ai.chat.requests.v1.low"}, None),
        (EXHAUSTED, {"edit": Edit(assignments=(("temperatur", 1),))}, "still_schema_mismatch"),
        (EXHAUSTED, {"edit": Edit(assignments=(("input.messages.9.role", "x"),))}, "bad_edit"),
        (EXHAUSTED, {"edit": Edit(body=b"{")}, "bad_edit"),
        (EXHAUSTED, {"edit": Edit(body=b"[]")}, "bad_edit"),
    ],
)
async def test_replacement_is_refused_where_it_would_die_again_or_nobody_proved_the_sender(
    dead: Dead, options: Mapping[str, Any], code: str | None
) -> None:
    letter = await letter_of(dead)

    if code is None:
        assert replacing(**options).replacement(letter).job
        return
    with pytest.raises(CannotRedrive) as refused:
        replacing(**options).replacement(letter)
    assert refused.value.code == code


async def test_replacement_when_body_was_not_kept_then_refused() -> None:
    request = replace(request_record(job_id(1)), value=bytes(3_000_000))

    with pytest.raises(CannotRedrive) as refused:
        replacing().replacement(await letter_of_record(request))

    assert refused.value.code == "no_envelope"


async def test_replacement_of_an_unknown_task_names_the_known_ones() -> None:
    edit = Edit(assignments=(("task", "no-such-task"),))

    with pytest.raises(CannotRedrive, match="known tasks: chat"):
        replacing(edit=edit).replacement(await letter_of())


@pytest.mark.parametrize(
    ("edit", "topic"),
    [
        (Edit(assignments=(("priority", "high"),)), "ai.chat.requests.v1.high"),
        (Edit(assignments=(("model", "small"),)), "ai.chat.requests.v1"),
    ],
)
async def test_replacement_when_priority_is_edited_then_it_goes_to_that_topic(
    edit: Edit, topic: str
) -> None:
    assert replacing(edit=edit).replacement(await letter_of()).record.topic == topic


async def test_replacement_of_a_structured_event_is_written_in_binary_mode() -> None:
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/orders",
        "type": "penstock.job.request.v1",
        "tenant": "acme",
        "data": {"task": "chat", "input": {"messages": [{"role": "user", "content": "hi"}]}},
    }
    record = replace(
        request_record("j"),
        headers=[("content-type", b"application/cloudevents+json")],
        value=orjson.dumps(event),
    )

    found = replacing().replacement(await letter_of_record(record))

    assert dict(found.record.headers)["content-type"] == b"application/json"
    old = derived_job_id(tenant="acme", source="/orders", event_id="e-1")
    assert body_of(found.record)["metadata"]["redriven_from"] == old


async def structured_letter(**attributes: Any) -> Letter:
    envelope, data = decode_event((request := request_record(job_id(7))).headers, request.value)
    event = {
        "specversion": "1.0",
        "id": envelope.id,
        "source": envelope.source,
        "type": envelope.type,
        "subject": envelope.subject,
        "tenant": envelope.tenant,
        "data": orjson.loads(data),
        **attributes,
    }
    headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    return await letter_of_record(replace(request, headers=headers, value=orjson.dumps(event)))


@pytest.mark.parametrize("is_whole", [True, False], ids=["event", "body"])
async def test_replacement_of_a_structured_letter_takes_the_saved_event_or_a_body_as_edit(
    is_whole: bool,
) -> None:
    letter = await structured_letter()
    event = orjson.loads(letter.record.value or b"")
    event["data"]["model"] = "small"
    edit = Edit(body=orjson.dumps(event if is_whole else event["data"]))

    replacement = replacing(edit=edit).replacement(letter)

    assert body_of(replacement.record)["model"] == "small"
    assert replacement.remarks == ("body replaced",)
    envelope, _ = decode_event(replacement.record.headers, replacement.record.value)
    assert (envelope.subject, envelope.id) == (replacement.job, job_id(7))


async def test_replacement_of_a_structured_letter_keeps_what_the_edit_changes_in_the_envelope() -> (
    None
):
    letter = await structured_letter(type="penstock.job.reqest.v1", shard="9")
    event = orjson.loads(letter.record.value or b"")
    edit = Edit(body=orjson.dumps({**event, "type": "penstock.job.request.v1"}))

    replacement = replacing(edit=edit).replacement(letter)

    envelope, _ = decode_event(replacement.record.headers, replacement.record.value)
    assert (envelope.type, envelope.extra) == ("penstock.job.request.v1", {"shard": "9"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"tenant": "rival"}, "stays its tenant's"), ({"id": ""}, "no whole event any more")],
    ids=["tenant", "id"],
)
async def test_replacement_of_a_structured_letter_when_the_edit_breaks_its_event_then_refused(
    changes: dict[str, str], words: str
) -> None:
    letter = await structured_letter()
    event = orjson.loads(letter.record.value or b"")

    with pytest.raises(CannotRedrive, match=words) as refused:
        replacing(edit=Edit(body=orjson.dumps({**event, **changes}))).replacement(letter)

    assert refused.value.code == "bad_edit"


async def test_replacement_when_signatures_are_on_then_workers_accept_it() -> None:
    id_secret = b"s" * 32
    signer = Signer(GATEWAY_PRODUCER, producer_secret(id_secret, GATEWAY_PRODUCER))
    letter = await letter_of()

    record = replacing(signer=signer).replacement(letter).record

    read = Record(record.topic, 0, 0, record.key, record.value, headers=record.headers)
    intake = Intake(tasks=TaskCatalog.builtin(), ids=IDS, secrets=ProducerKeys(id_secret))
    assert intake.verify(read).request.metadata["redriven_from"] == letter.job
    envelope, data = decode_event(record.headers, record.value)
    assert signature_is_valid(envelope, data, secret=signer.secret)
    assert not signature_is_valid(replace(envelope, tenant="other"), data, secret=signer.secret)
    assert repr(signer) == "Signer(producer='gateway')"


async def test_replacement_when_the_old_event_was_signed_then_its_signature_is_gone() -> None:
    request = request_record(job_id(1))
    envelope, _ = decode_event(request.headers, request.value)
    signed = encode_headers(replace(envelope, producer="billing", signature="abc"))

    found = replacing().replacement(await letter_of_record(replace(request, headers=signed)))

    assert not {"ce_producer", "ce_signature"} & set(dict(found.record.headers))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model=small", ("model", "small")),
        ("params.temperature=0.2", ("params.temperature", 0.2)),
        ("a=b=c", ("a", "b=c")),
        ("x=", ("x", "")),
        ('x="1"', ("x", "1")),
        ("x=null", ("x", None)),
    ],
)
def test_parse_assignment_takes_json_else_text(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["model", "=x", "a..b=1", ".a=1"])
def test_parse_assignment_of_another_form_shows_one(text: str) -> None:
    with pytest.raises(BadEdit, match="--set model=small"):
        parse_assignment(text)


def test_edit_reaches_into_lists_and_makes_what_is_missing() -> None:
    edit = Edit(assignments=(("input.messages.0.content", "new"), ("params.seed", 7)))

    body = edit.apply(b'{"input": {"messages": [{"role": "user", "content": "old"}]}}')

    assert body == {
        "input": {"messages": [{"role": "user", "content": "new"}]},
        "params": {"seed": 7},
    }
