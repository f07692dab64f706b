"""The stream of a response: its events, their numbers, and what a retry does to it."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest
from gateway.errors import ApiError
from gateway.openai.ending import Ending
from gateway.openai.responses.events import Event, event_bytes
from gateway.openai.responses.objects import output_of_choice
from gateway.openai.responses.streams import Cut
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from penstock_contracts.parts import (
    Delta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from pydantic import TypeAdapter

from tests.support.response_story import JOB, ResponseStory, completed, read

KNOWN = {
    get_args(model.model_fields["type"].annotation)[0]: TypeAdapter(model)
    for model in get_args(get_args(ResponseStreamEvent)[0])
}


def kinds(events: list[Event]) -> list[str]:
    return [event.payload["type"].removeprefix("response.") for event in events]


def numbers(events: list[Event]) -> list[int]:
    return [event.number for event in events]


def said(events: list[Event], index: int = 0) -> str:
    """What a reader has put together of an item."""
    return "".join(
        event.payload["delta"]
        for event in events
        if event.payload["type"].endswith(".delta") and event.payload["output_index"] == index
    )


def story_of(*pieces: Delta) -> ResponseStory:
    story = ResponseStory()
    story.starts()
    for piece in pieces:
        story.says(piece)
    return story


def result_of(pieces: list[Delta]) -> Ending:
    """The result that a worker makes of pieces."""
    calls: dict[int, dict[str, str]] = {}
    texts = {"text": "", "reasoning": "", "refusal": ""}
    for piece in pieces:
        if isinstance(piece, ToolCallDelta):
            call = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
            call["id"] = call["id"] or piece.id or f"call_{piece.index}"
            call["name"] = call["name"] or piece.name or ""
            call["arguments"] += piece.arguments
        else:
            texts[piece.type] += piece.text
    return completed(**texts, tool_calls=[calls[index] for index in sorted(calls)])


def test_a_text_is_told_event_by_event() -> None:
    story = story_of(TextDelta(text="Hel"), TextDelta(text="lo"))

    events = read(story.events, completed(text="Hello"))

    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert numbers(events) == list(range(10))
    assert events[-1].payload["response"]["output"] == output_of_choice(
        JOB, {"text": "Hello", "finish_reason": "stop"}
    )


def test_every_event_is_what_the_sdk_knows() -> None:
    pieces: list[Delta] = [
        ReasoningDelta(text="hm"),
        TextDelta(
            text="a", logprobs=[{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]
        ),
        RefusalDelta(text="no"),
        ToolCallDelta(index=0, id="c1", name="f"),
        ToolCallDelta(index=0, arguments="{}"),
    ]

    events = read(story_of(*pieces).events, result_of(pieces))

    for event in events:
        KNOWN[event.payload["type"]].validate_python(dict(event.payload), strict=False)
    Response.model_validate(events[-1].payload["response"])


def test_bytes_are_server_sent_events_with_their_numbers_as_ids() -> None:
    text = event_bytes(read(story_of(TextDelta(text="a")).events, completed(text="a"))).decode()

    frames = [frame.split("\n") for frame in text.strip().split("\n\n")]
    assert frames[0][0] == "event: response.created"
    assert [frame[1] for frame in frames] == [f"id: {number}" for number in range(len(frames))]
    for _, number, line in frames:
        payload = orjson.loads(line.removeprefix("data: "))
        assert payload["sequence_number"] == int(number.removeprefix("id: "))


def test_an_answer_that_came_without_pieces_is_told_whole() -> None:
    events = read(story_of().events, completed(text="Hello"))

    assert said(events) == "Hello"
    assert kinds(events)[-1] == "completed"


def test_a_job_that_failed_or_was_cancelled_says_so() -> None:
    error = {"type": "rate_limit_error", "message": "too many"}
    failed = read(story_of().events, Ending(status="failed", error=error))
    cancelled = read(story_of().events, Ending(status="cancelled"))

    assert kinds(failed) == ["created", "in_progress", "failed"]
    told = failed[-1].payload["response"]["error"]
    assert told == {"code": "rate_limit_exceeded", "message": "too many"}
    assert kinds(cancelled)[-1] == "cancelled"


def test_an_answer_cut_by_the_limit_is_incomplete() -> None:
    events = read(story_of(TextDelta(text="a")).events, completed(text="a", finish_reason="length"))

    assert kinds(events)[-1] == "incomplete"
    response = events[-1].payload["response"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"


def retold(first: str, second: list[str], whole: str) -> list[Event]:
    story = story_of(TextDelta(text=first))
    story.starts()
    story.resets()
    for text in second:
        story.says(TextDelta(text=text))
    return read(story.events, completed(text=whole))


def test_a_retry_that_says_the_same_again_goes_on_silently() -> None:
    events = retold("Hello", ["He", "llo wo", "rld"], "Hello world")

    assert kinds(events).count("output_item.added") == 1
    assert said(events) == "Hello world"
    assert numbers(events) == sorted(set(numbers(events)))


def test_a_retry_that_says_something_else_closes_the_item_and_begins_another() -> None:
    events = retold("Hello", ["He", "y"], "Hey")

    done = [e.payload["item"] for e in events if e.payload["type"].endswith("item.done")]
    assert [(item["status"], item["content"][0]["text"]) for item in done] == [
        ("incomplete", "Hello"),
        ("completed", "Hey"),
    ]
    assert len({item["id"] for item in done}) == 2
    assert (said(events, 0), said(events, 1)) == ("Hello", "Hey")
    assert numbers(events) == sorted(set(numbers(events)))


def test_a_retry_that_says_less_begins_another_item_at_its_end() -> None:
    events = retold("Hello", ["Hel"], "Hel")

    assert (said(events, 0), said(events, 1)) == ("Hello", "Hel")


def test_resuming_inside_merged_pieces_says_where_one_can() -> None:
    story = story_of(*(TextDelta(text=text) for text in "abcdef"))
    events = read(story.merged(5), completed(text="abcdef"))

    with pytest.raises(ApiError, match=r"starting_after=3 .* 7 to skip") as caught:
        Cut(5).behind(events, is_lost=False)

    assert caught.value.kind.code == "stream_position_gone"


TEXTS = st.text(alphabet="ab", min_size=0, max_size=2)
PIECES: st.SearchStrategy[Delta] = st.one_of(
    st.builds(lambda text: TextDelta(text=text), TEXTS),
    st.builds(lambda text: ReasoningDelta(text=text), TEXTS),
    st.builds(lambda text: RefusalDelta(text=text), TEXTS),
    st.builds(
        lambda index, text: ToolCallDelta(index=index, arguments=text), st.integers(0, 1), TEXTS
    ),
)


@st.composite
def stories(draw: st.DrawFn) -> tuple[ResponseStory, Ending]:
    """A job of up to three attempts; the later ones may say again what was said."""
    story = ResponseStory()
    pieces: list[Delta] = []
    for attempt in range(draw(st.integers(1, 3))):
        story.starts()
        if attempt and any(event.type == "delta" for event in story.events):
            story.resets()
        again = draw(st.booleans())
        kept = pieces[: draw(st.integers(0, len(pieces)))] if again else []
        pieces = [*kept, *draw(st.lists(PIECES, max_size=6))]
        seen: set[int] = set()
        for place, piece in enumerate(pieces):
            if isinstance(piece, ToolCallDelta) and piece.index not in seen:
                named = {"id": f"c{piece.index}", "name": "f"}
                pieces[place] = piece.model_copy(update=named)
                seen.add(piece.index)
        for piece in pieces:
            story.says(piece)
    calls = {piece.index for piece in pieces if isinstance(piece, ToolCallDelta)}
    if calls == {1}:
        pieces = [p for p in pieces if not isinstance(p, ToolCallDelta)]
        return draw(stories())
    return story, result_of(pieces)


@given(stories())
def test_numbers_rise_without_repetition_and_texts_are_whole(
    told: tuple[ResponseStory, Ending],
) -> None:
    story, ending = told

    events = read(story.events, ending)

    assert numbers(events) == sorted(set(numbers(events)))
    for event in events:
        if event.payload["type"] == "response.output_item.done":
            item: dict[str, Any] = event.payload["item"]
            parts = [part.get("text", part.get("refusal")) for part in item.get("content", ())]
            assert said(events, event.payload["output_index"]) == "".join(
                parts or [item.get("arguments", "")]
            )


@given(stories(), st.integers(0, 30), st.integers(0, 60))
def test_who_resumes_sees_exactly_the_missing_events_or_is_told_why_not(
    told: tuple[ResponseStory, Ending], merged: int, place: int
) -> None:
    story, ending = told
    live = read(story.events, ending)
    after = live[min(place, len(live) - 1)].number

    resumed = read(story.merged(min(merged, len(story.events))), ending)
    try:
        behind = Cut(after).behind(resumed, is_lost=False)
    except ApiError:
        return  # the place is inside of merged pieces
    missing = [event for event in live if event.number > after]

    assert set(numbers(behind)) <= set(numbers(missing))
    swallowed = {n for e in behind for n in range(e.first, e.number)}
    assert {event.number for event in missing} - set(numbers(behind)) <= swallowed
    by_number = {event.number: event.payload for event in missing}
    for event in behind:
        if event.first == event.number:
            assert event.payload == by_number[event.number]


@given(stories(), st.integers(1, 30))
def test_who_lost_events_on_the_way_and_got_a_snapshot_goes_on_with_the_same_numbers(
    told: tuple[ResponseStory, Ending], place: int
) -> None:
    story, ending = told
    if story.attempt != 1:
        return  # across attempts a snapshot does not have what is void
    count = min(place, len(story.events))
    live = read(story.events, ending)

    for seen in range(count + 1):
        items = [*story.events[:seen], story.snapshot(count), *story.events[count:]]
        events = read(items, ending)
        assert events[-1] == live[-1]
        assert set(numbers(events)) <= set(numbers(live))
        for index in range(len(events[-1].payload["response"]["output"])):
            assert said(events, index) == said(live, index)
