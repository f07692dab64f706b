"""The stream of a response: its events, their numbers, and what a retry does to it."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest
from gateway.errors import ApiError
from gateway.openai.ending import Ending
from gateway.openai.responses.events import Event, event_bytes
from gateway.openai.responses.objects import output_of_choice
from gateway.openai.responses.steps import AttemptSteps
from gateway.openai.responses.streams import Cut
from hypothesis import given
from hypothesis import strategies as st
from llm_worker.assembly import Answer
from llm_worker.ports import Piece
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
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


LOGPROBS: list[Any] = [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]


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
    answer = Answer()
    for piece in pieces:
        if isinstance(piece, ToolCallDelta):
            called = Piece("tool_call", 0, piece.arguments, piece.index, piece.id, piece.name)
            answer.add([called])
        elif piece.text:
            logprobs = piece.logprobs if isinstance(piece, TextDelta) else None
            answer.add([Piece(piece.type, 0, piece.text, logprobs=logprobs)])
    choices = answer.choices()
    return completed(**choices[0].model_dump(exclude_none=True) if choices else {})


def ids_of_the_sdk(events: list[Event]) -> list[str | None]:
    """Ids of the output that OpenAI's stream helper has in the end; it raises if it loses track."""
    state = ResponseStreamState[None](input_tools=omit, text_format=omit)
    for event in events:
        known = KNOWN[event.payload["type"]]
        state.handle_event(known.validate_python(dict(event.payload), strict=False))
    assert state._completed_response is not None  # what `get_final_response` gives
    return [getattr(item, "id", None) for item in state._completed_response.output]


def done_items(events: list[Event]) -> list[tuple[int, dict[str, Any]]]:
    """The items that a reader saw end, each with its place."""
    done = "response.output_item.done"
    found = [e.payload for e in events if e.payload["type"] == done]
    return sorted((payload["output_index"], payload["item"]) for payload in found)


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
        TextDelta(text="a", logprobs=LOGPROBS),
        RefusalDelta(text="no"),
        ToolCallDelta(index=0, id="c1", name="f"),
        ToolCallDelta(index=0, arguments="{}"),
    ]

    events = read(story_of(*pieces).events, result_of(pieces))

    for event in events:
        KNOWN[event.payload["type"]].validate_python(dict(event.payload), strict=False)
    Response.model_validate(events[-1].payload["response"])


@pytest.mark.parametrize(
    "pieces",
    [
        [ToolCallDelta(index=0, id="c", name="f", arguments="{}"), TextDelta(text="a")],
        [
            ReasoningDelta(text="1"),
            TextDelta(text="2"),
            ReasoningDelta(text="3"),
            TextDelta(text="4"),
        ],
        [TextDelta(text="a"), RefusalDelta(text="no"), TextDelta(text="b")],
        [
            ToolCallDelta(index=0, id="c", arguments="{"),
            ToolCallDelta(index=0, name="f", arguments="}"),
        ],
        [ToolCallDelta(index=0, arguments="{"), ToolCallDelta(index=0, id="late", name="f")],
        [
            TextDelta(text="a", logprobs=LOGPROBS),
            ToolCallDelta(index=0, id="c", name="f", arguments="{}"),
            TextDelta(text="b", logprobs=LOGPROBS),
        ],
    ],
    ids=["text last", "thinks twice", "refuses between", "name late", "id late", "logprobs"],
)
def test_end_of_the_stream_get_and_the_items_seen_are_the_same(pieces: list[Delta]) -> None:
    ending = result_of(pieces)

    events = read(story_of(*pieces).events, ending)
    told_whole = read(story_of().events, ending)

    assert ending.output is not None
    fetched = output_of_choice(JOB, ending.output["choices"][0])
    assert done_items(events) == list(enumerate(fetched))
    assert done_items(told_whole) == list(enumerate(fetched))
    assert events[-1].payload["response"]["output"] == fetched
    assert ids_of_the_sdk(events) == [item["id"] for item in fetched]


def test_answer_of_old_without_a_choice_is_an_empty_message() -> None:
    events = read(story_of().events, Ending(status="completed", output={"choices": []}))

    assert kinds(events)[-1] == "completed"
    assert events[-1].payload["response"]["output"][0]["content"][0]["text"] == ""


def test_probabilities_of_tokens_without_text_go_with_the_next_text_or_the_end() -> None:
    half, rest, end = ([{"token": name, "logprob": -0.1}] for name in ("half", "rest", "end"))
    pieces: list[Delta] = [
        TextDelta(text="", logprobs=half),
        TextDelta(text="x", logprobs=rest),
        TextDelta(text="", logprobs=end),
    ]

    events = read(story_of(*pieces).events, result_of(pieces))

    told = {event.payload["type"]: event.payload for event in events}
    assert told["response.output_text.delta"]["logprobs"] == [*half, *rest]
    assert told["response.output_text.done"]["logprobs"] == [*half, *rest, *end]
    assert numbers(events) == list(range(len(events)))


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


@pytest.mark.parametrize("order", [[], [{"type": "text", "length": 0, "logprobs": 1}]])
def test_probabilities_of_an_answer_without_text_are_in_its_item(order: list[Any]) -> None:
    (item,) = output_of_choice(JOB, {"text": "", "logprobs": LOGPROBS, "order": order})

    assert item["content"][0]["logprobs"] == LOGPROBS


def test_probabilities_that_wait_for_text_are_not_told_again_by_the_result() -> None:
    steps, told = AttemptSteps(0), LOGPROBS * 3
    list(steps.take({"type": "text", "text": "ab", "logprobs": told[:1]}, 1))
    list(steps.take({"type": "text", "text": "", "logprobs": told[1:2]}, 0))

    list(steps.complete({"text": "abcd", "logprobs": told, "finish_reason": "stop"}))

    assert steps.items[0].parts[0].logprobs == told


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


def as_workers_send_them(pieces: list[Delta]) -> list[Delta]:
    """The same with calls numbered as they begin, and named where they do."""
    places: dict[int, int] = {}
    sent: list[Delta] = []
    for piece in pieces:
        if not isinstance(piece, ToolCallDelta):
            sent.append(piece)
            continue
        is_new = piece.index not in places
        place = places.setdefault(piece.index, len(places))
        named = {"id": f"c{place}", "name": "f"} if is_new else {}
        sent.append(piece.model_copy(update={"index": place, **named}))
    return sent


@given(st.lists(PIECES, max_size=8), st.integers(0, 8))
def test_whoever_saw_how_much_has_in_the_end_what_get_gives(
    drawn: list[Delta], missed: int
) -> None:
    pieces = as_workers_send_them(drawn)
    ending = result_of(pieces)

    events = read(story_of(*pieces[: max(len(pieces) - missed, 0)]).events, ending)

    assert ending.output is not None
    fetched = output_of_choice(JOB, ending.output["choices"][0])
    assert done_items(events) == list(enumerate(fetched))
    assert events[-1].payload["response"]["output"] == fetched
    assert ids_of_the_sdk(events) == [item["id"] for item in fetched]


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
        pieces = as_workers_send_them(pieces)
        for piece in pieces:
            story.says(piece)
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
