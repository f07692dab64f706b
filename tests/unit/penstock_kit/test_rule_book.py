"""Which records a rule is about, and for how long."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from penstock_contracts.control import ControlRule, Selector
from penstock_kit.control import ControlBoard, rule_record, rule_tombstone
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import OutRecord, Record
from penstock_kit.lanes.rules import Verdict
from penstock_kit.rule_book import RuleBook
from penstock_kit.settings import KafkaSettings

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Instant:
    """A wall clock by hand."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


def rule(action: Any = "pause", name: str = "r", **more: Any) -> ControlRule:
    selector = more.pop("selector", {})
    return ControlRule(
        name=name, action=action, selector=Selector.model_validate(selector), at=NOW, **more
    )


def request(tenant: str = "acme", **body: Any) -> Record:
    whole = {"task": "chat", "input": {"messages": []}, **body}
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_source", b"/test"),
        ("ce_type", b"penstock.request.v1"),
        ("ce_tenant", tenant.encode()),
        ("content-type", b"application/json"),
    ]
    return Record("ai.chat.requests.v1", 0, 0, b"k", orjson.dumps(whole), headers)


def held(book: RuleBook, record: Record) -> bool:
    verdict = book.verdict(record)
    return verdict is not None and verdict.held_by is not None


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"tenant": "acme"}, True),
        ({"tenant": "beta"}, False),
        ({"task": "chat"}, True),
        ({"task": "embed"}, False),
        ({"model": "big"}, True),
        ({"model": "small"}, False),
        ({"tenant": "acme", "task": "chat", "model": "big"}, True),
        ({"tenant": "beta", "task": "chat", "model": "big"}, False),
        ({"argument": {"template": "letter"}}, True),
        ({"argument": {"template": "letter", "variables.to": "bob"}}, True),
        ({"argument": {"variables.to": "eve"}}, False),
        ({"argument": {"list.1": 7}}, True),
        ({"argument": {"list.9": 7}}, False),
        ({"argument": {"absent": None}}, False),
    ],
)
async def test_verdict_when_selector_given_then_all_that_is_set_must_match(
    selector: dict[str, Any], *, matches: bool
) -> None:
    book = RuleBook()
    book.put(rule(selector=selector))
    given = {"template": "letter", "variables": {"to": "bob"}, "list": [6, 7]}

    assert held(book, request(model="big", input=given)) is matches


async def test_verdict_when_request_names_no_model_then_the_tasks_first_counts() -> None:
    book = RuleBook(default_model={"chat": "big"}.get)
    book.put(rule(selector={"model": "big"}))

    assert held(book, request())
    assert not held(book, request(model="small"))
    assert not held(book, request(task="other"))


@pytest.mark.parametrize("value", [b"{broken", b"[1]", None])
async def test_verdict_when_body_cannot_be_read_then_only_rules_without_it_match(
    value: bytes | None,
) -> None:
    book = RuleBook()
    book.put(rule(selector={"task": "chat"}))
    record = Record("t", 0, 0, b"k", value, [("ce_tenant", b"acme")])
    assert not held(book, record)

    book.put(rule(name="all", selector={"tenant": "acme"}))

    assert held(book, record)


async def test_verdict_when_the_event_is_structured_then_its_tenant_is_found_inside() -> None:
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/test",
        "type": "penstock.request.v1",
        "tenant": "acme",
        "data": {"task": "chat"},
    }
    headers = [("content-type", b"application/cloudevents+json"), ("ce_tenant", b"beta")]
    record = Record("t", 0, 0, b"k", orjson.dumps(event), headers)
    book = RuleBook()

    book.put(rule(selector={"tenant": "beta"}))
    assert not held(book, record), "the intake reads the envelope, so do rules"
    book.put(rule(selector={"tenant": "acme"}))
    assert held(book, record)


async def test_verdict_when_several_match_then_all_are_told() -> None:
    book = RuleBook()
    for made in (
        rule("demote", "d"),
        rule("limit", "l", limit=3),
        rule("limit", "m", limit=0),
        rule("drop", "x", selector={"tenant": "beta"}),
    ):
        book.put(made)

    assert book.verdict(request()) == Verdict(limits=(("l", 3), ("m", 0)), is_demoted=True)
    dropped = book.verdict(request("beta"))
    assert dropped is not None
    assert dropped.dropped_by == "x"


async def test_rule_when_it_expires_then_gone_and_told_at_once() -> None:
    clock, told = Instant(), asyncio.Event()
    book = RuleBook(clock)
    book.put(rule(expires_at=NOW + timedelta(milliseconds=20)))
    book.on_change(told.set)
    assert held(book, request())

    clock.at += timedelta(seconds=1)
    await asyncio.wait_for(told.wait(), 10)

    assert book.rules == ()
    assert book.verdict(request()) is None
    book.stop()


async def test_rule_when_over_before_it_is_read_then_never_in_force() -> None:
    book = RuleBook(Instant())

    book.put(rule(expires_at=NOW))

    assert book.rules == ()


async def test_board_when_rules_come_and_go_then_the_book_has_them() -> None:
    board = ControlBoard(KafkaSettings(bootstrap="x:1"), MemoryKafka().producer())
    changes: list[int] = []
    board.rules.on_change(lambda: changes.append(len(board.rules.rules)))

    def apply(record: OutRecord) -> None:
        board.apply((record.key or b"").decode(), record.value, record.headers)

    apply(rule_record(rule(name="a"), source="/test"))
    apply(rule_record(rule(name="a"), source="/test"))
    apply(rule_record(rule("limit", name="b"), source="/test"))
    apply(rule_record(rule("limit", name="c", limit=2), source="/test"))
    apply(rule_tombstone("a"))
    apply(rule_tombstone("unknown"))

    assert [found.name for found in board.rules.rules] == ["c"]
    assert changes == [1, 2, 1]
