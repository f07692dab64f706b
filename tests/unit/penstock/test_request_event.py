from __future__ import annotations

from datetime import datetime, timezone

import pytest
from penstock import ProducerIdentity, ReplyAddress, reply_topic
from penstock.producing import request_event
from penstock_contracts.errors import SchemaMismatch
from penstock_contracts.ids import JobIds, derived_job_id
from penstock_contracts.replies import BadReplyTo
from penstock_kit.auth.producers import producer_secret
from penstock_kit.errors import Rejected
from penstock_kit.intake import Intake, reply_of
from penstock_kit.kafka.ports import OutRecord, Record
from penstock_kit.tasks import TaskCatalog

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SECRET = producer_secret(b"s" * 32, "billing")
IDENTITY = ProducerIdentity(
    tenant="acme", source="billing/nightly", producer="billing", secret=SECRET.hex()
)
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


class _Secrets:
    def secret_for(self, producer: str, *, tenant: str) -> bytes | None:
        return SECRET if (producer, tenant) == ("billing", "acme") else None


def _intake() -> Intake:
    return Intake(tasks=TaskCatalog.builtin(), ids=JobIds(b"s" * 32), secrets=_Secrets())


def _read(record: OutRecord) -> Record:
    return Record(record.topic, 0, 0, key=record.key, value=record.value, headers=record.headers)


def test_event_when_signed_passes_the_intake_of_a_worker() -> None:
    event = request_event(IDENTITY, "chat", CHAT, event_id="4711", now=NOW, user="alice")

    verified = _intake().verify(_read(event.record))

    assert verified.job == event.job
    assert (verified.tenant, verified.user, verified.created_at) == ("acme", "alice", NOW)


def test_event_when_repeated_is_the_same_job_on_the_same_key() -> None:
    first = request_event(IDENTITY, "chat", CHAT, event_id="4711", now=NOW)
    again = request_event(IDENTITY, "chat", CHAT, event_id="4711", now=NOW)

    expected = derived_job_id(tenant="acme", source="billing/nightly", event_id="4711")
    assert first == again
    assert first.job == expected
    assert first.record.key == expected.encode()


def test_event_with_conversation_and_priority_goes_to_that_key_and_topic() -> None:
    event = request_event(
        IDENTITY, "chat", CHAT, event_id="1", now=NOW, conversation="c-1", priority="high"
    )

    assert event.record.key == b"c-1"
    assert event.record.topic == "ai.chat.requests.v1.high"
    assert _intake().verify(_read(event.record)).request.conversation == "c-1"


def test_event_when_another_key_signed_is_rejected() -> None:
    stranger = ProducerIdentity(tenant="acme", source="x", producer="billing", secret="00" * 32)
    event = request_event(stranger, "chat", CHAT, event_id="1", now=NOW)

    with pytest.raises(Rejected) as caught:
        _intake().verify(_read(event.record))

    assert caught.value.code == "bad_signature"


def test_event_with_unknown_member_names_it_before_anything_is_written() -> None:
    with pytest.raises(SchemaMismatch, match="temprature"):
        request_event(IDENTITY, "chat", CHAT, event_id="1", now=NOW, temprature=0.5)


def test_identity_with_producer_but_no_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="both"):
        ProducerIdentity(tenant="acme", source="x", producer="billing")


def test_identity_when_printed_keeps_its_secret() -> None:
    assert SECRET.hex() not in repr(IDENTITY)


def test_member_that_older_workers_do_not_know_is_written_only_where_it_was_given() -> None:
    plain = request_event(IDENTITY, "chat", CHAT, event_id="1", now=NOW)
    unstreamed = request_event(IDENTITY, "chat", CHAT, event_id="2", now=NOW, streamed=False)

    assert b"streamed" not in (plain.record.value or b"")
    assert _intake().verify(_read(unstreamed.record)).request.streamed is False


def test_event_that_asks_for_a_reply_says_where() -> None:
    reply = ReplyAddress(reply_topic("billing", "acme"), "call-7")
    event = request_event(IDENTITY, "chat", CHAT, event_id="4711", now=NOW, reply=reply)

    assert reply_of(_intake().verify(_read(event.record))) == reply


def test_event_that_asks_for_a_reply_elsewhere_is_not_made() -> None:
    elsewhere = ReplyAddress("ai.replies.billing.beta")

    with pytest.raises(BadReplyTo):
        request_event(IDENTITY, "chat", CHAT, event_id="4711", now=NOW, reply=elsewhere)
