from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from penstock_contracts.events import Position
from penstock_kit.tail.hub import EventHub
from penstock_kit.tail.metrics import TailMetrics
from penstock_kit.tail.ring import EventRing
from penstock_kit.tail.tailed import MalformedEvent, TailedEvent, read_event
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.tenancy import TenantScope

from tests.support.events import a_job, an_event, as_record

ACME = TenantScope("acme")


def a_hub(*, max_events: int = 1000, max_bytes: int = 1 << 20) -> EventHub:
    return EventHub(EventRing(max_events=max_events, max_bytes=max_bytes), TailMetrics(Metrics()))


def places(hub: EventHub, job: str | None = None) -> list[str]:
    return [str(event.position) for event in hub.recent(ACME, job or a_job())]


def test_read_event_when_written_by_a_worker_then_the_same() -> None:
    event = an_event("delta", "2-17", user=None, text="é")
    record = as_record(event)

    assert read_event(record.key, record.headers, record.value) == event


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("ce_type", b"penstock.job.request.v1", "unknown_type"),
        ("ce_tenant", None, "missing_header"),
        ("ce_attempt", b"-1", "bad_number"),
        ("ce_seq", b"1" * 11, "bad_number"),
        ("ce_tenant", b"\xff", "not_utf8"),
        ("ce_tenant", b"", "bad_key"),
        ("ce_subject", b"job_" + b"0" * 32, "contradiction"),
        ("ce_subject", None, "contradiction"),
    ],
)
def test_read_event_when_header_is_wrong_then_malformed(
    header: str, value: bytes | None, code: str
) -> None:
    record = as_record(an_event("started", "1-1"))
    headers = [(name, raw) for name, raw in record.headers if name != header]
    if value is not None:
        headers.append((header, value))

    with pytest.raises(MalformedEvent) as caught:
        read_event(record.key, headers, record.value)

    assert caught.value.code == code


@pytest.mark.parametrize("header", ["ce_tenant", "ce_attempt", "ce_seq"])
def test_read_event_when_header_has_no_value_then_malformed(header: str) -> None:
    """Clients hand on a header without a value as None."""
    record = as_record(an_event("started", "1-1"))
    headers: list[tuple[str, Any]] = [
        (name, None if name == header else raw) for name, raw in record.headers
    ]

    with pytest.raises(MalformedEvent) as caught:
        read_event(record.key, headers, record.value)

    assert caught.value.code == "missing_header"


def test_read_event_when_value_is_about_another_job_then_malformed() -> None:
    record = as_record(an_event("started", "1-1"))
    other = as_record(an_event("started", "1-1", job=a_job("two")))

    with pytest.raises(MalformedEvent) as caught:
        read_event(record.key, record.headers, other.value)

    assert caught.value.code == "contradiction"


def test_ring_when_full_then_the_oldest_of_all_jobs_leaves() -> None:
    hub = a_hub(max_events=3)

    for place in ("1-1", "1-2"):
        hub.feed(an_event("delta", place, text="x"))
    for place in ("1-1", "1-2"):
        hub.feed(an_event("delta", place, job=a_job("two"), text="x"))

    assert places(hub) == ["1-2"]
    assert places(hub, a_job("two")) == ["1-1", "1-2"]


def test_ring_when_a_job_is_forgotten_then_nothing_of_it_is_read_and_the_rest_stays() -> None:
    hub = a_hub(max_events=4)
    hub.feed(an_event("delta", "1-1", text="secret"))
    hub.feed(an_event("delta", "1-1", job=a_job("two"), text="x"))

    hub.forget("rival", a_job())
    assert places(hub) == ["1-1"]
    hub.forget("acme", a_job())
    assert places(hub) == []
    hub.feed(an_event("cancelled", "1-2"))
    for seq in (2, 3, 4):
        hub.feed(an_event("delta", f"1-{seq}", job=a_job("two"), text="x"))

    assert places(hub) == ["1-2"]
    assert places(hub, a_job("two")) == ["1-2", "1-3", "1-4"]


def test_ring_when_bytes_are_over_then_the_oldest_leaves() -> None:
    hub = a_hub(max_bytes=6_000)

    for seq in range(1, 10):
        hub.feed(an_event("delta", f"1-{seq}", text="x" * 1000))

    assert places(hub) == ["1-7", "1-8", "1-9"]


def test_ring_when_event_comes_again_or_late_then_dropped() -> None:
    hub = a_hub()

    for place in ("1-1", "1-2", "1-2", "1-1", "2-1", "1-3"):
        hub.feed(an_event("delta", place, text="x"))

    assert places(hub) == ["1-1", "1-2", "2-1"]


def test_ring_when_earlier_attempt_ends_behind_the_fence_then_that_is_not_the_end() -> None:
    hub = a_hub()
    hub.feed(an_event("started", "1-1"))
    hub.feed(an_event("started", "2-1"))

    hub.feed(an_event("completed", "1-2", text="late"))
    hub.feed(an_event("completed", "2-2", text="later"))

    assert places(hub) == ["1-1", "2-1", "2-2"]


def test_ring_when_the_start_has_left_it_then_the_fence_still_holds() -> None:
    hub = a_hub(max_events=2)
    other = a_job("two")
    hub.feed(an_event("started", "1-1"))
    hub.feed(an_event("started", "2-1"))
    hub.feed(an_event("started", "1-1", job=other))
    hub.feed(an_event("delta", "1-2", job=other))
    assert places(hub) == []

    hub.feed(an_event("completed", "1-2", text="late"))
    hub.feed(an_event("completed", "2-2", text="right"))

    assert places(hub) == ["2-2"]


def test_subscriber_when_event_is_of_another_tenant_or_user_then_not_called() -> None:
    hub = a_hub()
    got: list[TailedEvent] = []
    hub.subscribe(TenantScope("acme", "ann"), a_job(), got.append)
    hub.subscribe_scope(TenantScope("acme", "ann"), got.append)

    hub.feed(an_event("started", "1-1", tenant="evil"))
    hub.feed(an_event("started", "1-1", job=a_job("two"), user="bob"))
    hub.feed(an_event("started", "1-1", job=a_job("three"), user=None))

    assert got == []
    assert hub.recent(TenantScope("acme", "ann"), a_job()) == []


def test_events_when_another_tenant_writes_under_the_same_id_then_own_ones_still_come() -> None:
    hub = a_hub()
    hub.feed(an_event("completed", "99-1", tenant="evil", text="x"))

    hub.feed(an_event("started", "1-1"))

    assert places(hub) == ["1-1"]


def test_subscriber_of_tenant_when_any_user_of_it_then_called() -> None:
    hub = a_hub()
    got: list[TailedEvent] = []
    hub.subscribe_scope(ACME, got.append)

    for number, user in enumerate(("ann", None, "bob")):
        hub.feed(an_event("started", "1-1", job=a_job(str(number)), user=user))

    assert [event.user for event in got] == ["ann", None, "bob"]


def test_subscriber_when_closed_then_not_called_and_nothing_is_left() -> None:
    hub = a_hub()
    got: list[TailedEvent] = []
    first = hub.subscribe(ACME, a_job(), got.append)
    second = hub.subscribe(ACME, a_job(), got.append)

    first.close()
    first.close()
    hub.feed(an_event("started", "1-1"))
    second.close()

    assert len(got) == 1
    assert hub.subscriptions == 0


def test_subscriber_when_another_raises_then_still_called() -> None:
    hub = a_hub()
    got: list[TailedEvent] = []

    def broken(_: TailedEvent) -> None:
        raise ValueError("broken sink")

    hub.subscribe(ACME, a_job(), broken)
    hub.subscribe(ACME, a_job(), got.append)
    hub.feed(an_event("started", "1-1"))

    assert len(got) == 1


def test_owner_when_job_is_kept_then_known() -> None:
    hub = a_hub()
    hub.feed(an_event("started", "1-1"))

    assert hub.owner("acme", a_job()) == TenantScope("acme", "ann")
    assert hub.owner("evil", a_job()) is None


def test_event_when_terminal_then_says_so() -> None:
    event = an_event("failed", "1-2")

    assert event.is_terminal
    assert not replace(event, type="delta", position=Position(1, 1)).is_terminal
