"""The lean encoding of deltas equals the general one, byte for byte, header for header."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.envelope import decode_event
from penstock_contracts.events import DeltaEvent, JobEventAdapter
from penstock_contracts.parts import (
    Delta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from penstock_kit.jobs.encoding import DeltaRecords, encode_job_event
from penstock_kit.telemetry.tracing import TraceContext

JOB = "job_" + "a" * 42
TRACE = TraceContext(
    "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", is_sampled=True, state="a=1"
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
deltas = st.one_of(
    st.builds(TextDelta, text=texts, choice=st.integers(0, 3)),
    st.builds(
        TextDelta,
        text=texts,
        logprobs=st.lists(st.fixed_dictionaries({"token": texts, "logprob": st.integers(-9, 0)})),
    ),
    st.builds(ReasoningDelta, text=texts),
    st.builds(RefusalDelta, text=texts),
    st.builds(
        ToolCallDelta,
        index=st.integers(0, 5),
        id=st.none() | texts,
        name=st.none() | texts,
        arguments=texts,
    ),
)


@given(
    pieces=st.lists(deltas, min_size=1, max_size=4),
    seq=st.integers(1, 10**6),
    at=st.datetimes(timezones=st.just(timezone.utc), min_value=datetime(2000, 1, 1)),  # noqa: DTZ001 - hypothesis adds the zone
    user=st.none() | st.just("ann"),
    trace=st.none() | st.just(TRACE),
)
def test_delta_record_equals_the_encoded_model(
    pieces: list[Delta], seq: int, at: datetime, user: str | None, trace: TraceContext | None
) -> None:
    lean = DeltaRecords(
        job=JOB, tenant="acme", user=user, attempt=2, source="/penstock/llm-worker", trace=trace
    )
    event = DeltaEvent(job=JOB, attempt=2, seq=seq, at=at, deltas=pieces)

    record = lean.record(pieces, seq=seq, at=at)

    assert record == encode_job_event(
        event, tenant="acme", user=user, source="/penstock/llm-worker", trace=trace
    )


def test_delta_record_decodes_to_its_envelope_and_event() -> None:
    lean = DeltaRecords(
        job=JOB, tenant="acme", user="ann", attempt=1, source="/penstock/x", trace=TRACE
    )
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

    record = lean.record([TextDelta(text="hé")], seq=7, at=at)

    envelope, data = decode_event(record.headers, record.value)
    assert (envelope.id, envelope.subject, envelope.attempt, envelope.seq) == (
        f"{JOB}/1-7",
        JOB,
        1,
        7,
    )
    assert (envelope.tenant, envelope.user, envelope.time) == ("acme", "ann", at)
    assert (envelope.traceparent, envelope.tracestate) == (TRACE.traceparent, "a=1")
    assert JobEventAdapter.validate_json(data).position == (1, 7)


@pytest.mark.parametrize("text", ["\ud83d", "a\udc00b"])
def test_lone_surrogates_are_replaced_and_the_stream_goes_on(text: str) -> None:
    lean = DeltaRecords(
        job=JOB, tenant="acme", user=None, attempt=1, source="/penstock/x", trace=None
    )

    record = lean.record(
        [TextDelta.model_construct(text=text)], seq=1, at=datetime(2026, 1, 1, tzinfo=timezone.utc)
    )

    event = JobEventAdapter.validate_json(record.value or b"")
    assert isinstance(event, DeltaEvent)
    assert "?" in event.deltas[0].model_dump_json()
