from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from llm_worker.coalescing import Coalescer, CoalescingPolicy, DeltaPace, joined
from llm_worker.ports import Finish, Piece
from penstock_contracts.codec import encode_model
from penstock_contracts.parts import Delta, TextDelta, ToolCallDelta

LONG = timedelta(hours=1)
"""No timer fires within a test."""
PIECES = st.builds(
    Piece,
    kind=st.sampled_from(["text", "reasoning", "refusal", "tool_call"]),
    choice=st.integers(0, 1),
    text=st.text(max_size=4),
    place=st.integers(0, 1),
    id=st.none(),
    name=st.none(),
    logprobs=st.none(),
)


class Events:
    """Delta events as they go out."""

    def __init__(self) -> None:
        self.sent: list[list[Delta]] = []
        self.changed = asyncio.Event()

    def __call__(self, deltas: Sequence[Delta]) -> None:
        self.sent.append(list(deltas))
        self.changed.set()

    @property
    def texts(self) -> list[str]:
        return ["".join(text_of(delta) for delta in event) for event in self.sent]


class SlottedLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands, and that notes when it should call back."""

    def __init__(self) -> None:
        super().__init__()
        self.close()
        self.now_s = 0.0
        self.asked: list[float] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, *_: Any, **__: Any) -> Any:  # type: ignore[override] # notes it
        self.asked.append(when)
        return asyncio.get_running_loop().call_later(0, int)


def text_of(delta: Delta) -> str:
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


def text(value: str) -> Piece:
    return Piece("text", 0, value)


def streaming(pace: DeltaPace, *, loop: SlottedLoop | None = None) -> Coalescer:
    """A stream that has sent its first event."""
    coalescer = Coalescer(Events(), pace, loop=loop)
    coalescer.add([text("a")])
    return coalescer


async def test_first_piece_goes_at_once_and_the_next_are_held() -> None:
    events = Events()
    coalescer = Coalescer(events, DeltaPace(CoalescingPolicy(interval=LONG)))

    for word in "abc":
        coalescer.add([text(word)])
    assert events.texts == ["a"]

    coalescer.flush()
    assert events.texts == ["a", "bc"]


async def test_held_pieces_go_when_the_interval_is_over() -> None:
    events = Events()
    coalescer = Coalescer(events, DeltaPace(CoalescingPolicy(interval=timedelta(milliseconds=5))))
    coalescer.add([text("a")])
    events.changed.clear()

    coalescer.add([text("b")])
    coalescer.add([text("c")])
    await asyncio.wait_for(events.changed.wait(), 5)

    assert events.texts == ["a", "bc"]


async def test_streams_of_one_slot_go_on_at_one_moment() -> None:
    loop = SlottedLoop()

    for began_ms in (1001, 1003, 1004, 1006):
        loop.now_s = began_ms / 1000
        coalescer = Coalescer(Events(), DeltaPace(CoalescingPolicy()), loop=loop)
        coalescer.add([text("a")])
        coalescer.add([text("b")])
    moments = [round(at * 1000, 6) for at in loop.asked]

    assert moments == [1025, 1025, 1025, 1030]


async def test_a_stream_keeps_its_interval_from_slot_to_slot() -> None:
    loop = SlottedLoop()
    coalescer = Coalescer(Events(), DeltaPace(CoalescingPolicy()), loop=loop)
    loop.now_s = 7.013
    coalescer.add([text("a")])

    for _ in range(1000):
        coalescer.add([text("b")])
        loop.now_s = round(loop.asked[-1], 3)
        coalescer.flush()
    moments = [round(at * 1000) for at in loop.asked]

    assert {after - before for before, after in pairwise(moments)} == {25}


async def test_interval_grows_with_the_number_of_streams_up_to_its_bound_and_shrinks_again() -> (
    None
):
    pace = DeltaPace(CoalescingPolicy(events_per_s=1_500))
    intervals_ms = {}

    silent = [Coalescer(Events(), pace) for _ in range(100)]
    streams: list[Coalescer] = []
    for count in (1, 37, 60, 150, 400):
        streams += [streaming(pace) for _ in range(count - len(streams))]
        intervals_ms[count] = round(pace.interval_s * 1000)
    for stream in (*silent, *streams):
        stream.close()
        stream.close()

    assert intervals_ms == {1: 25, 37: 25, 60: 40, 150: 100, 400: 100}
    assert pace.interval_s == 0.025


async def test_streams_of_a_busy_process_send_less_often() -> None:
    loop, pace = SlottedLoop(), DeltaPace(CoalescingPolicy(events_per_s=1_500))
    loop.now_s = 1.0
    others = [streaming(pace, loop=loop) for _ in range(89)]
    coalescer = Coalescer(Events(), pace, loop=loop)

    coalescer.add([text("a")])
    coalescer.add([text("b")])

    assert [round(at, 6) for at in loop.asked] == [1.056]
    for stream in (*others, coalescer):
        stream.close()


async def test_a_stream_that_is_woken_a_little_early_keeps_its_interval() -> None:
    loop = SlottedLoop()
    coalescer = Coalescer(Events(), DeltaPace(CoalescingPolicy()), loop=loop)
    loop.now_s = 7.0
    due = coalescer.add([text("a")])

    loop.now_s = due - 0.0004
    following = coalescer.add([text("b")])

    assert round(following - due, 6) == 0.025


async def test_held_pieces_go_when_there_are_enough() -> None:
    events = Events()
    coalescer = Coalescer(events, DeltaPace(CoalescingPolicy(interval=LONG, max_tokens=3)))

    for word in "abcdef":
        coalescer.add([text(word)])

    assert events.texts == ["a", "bcd"]


async def test_flush_when_nothing_is_held_sends_nothing() -> None:
    events = Events()
    coalescer = Coalescer(events, DeltaPace(CoalescingPolicy()))

    coalescer.add([Finish(0, "stop")])
    coalescer.flush()

    assert events.sent == []


async def test_close_drops_what_is_held_and_stops_the_timer() -> None:
    events = Events()
    coalescer = Coalescer(events, DeltaPace(CoalescingPolicy(interval=LONG)))
    coalescer.add([text("a"), text("b")])
    coalescer.add([text("c")])

    coalescer.close()
    coalescer.close()
    coalescer.flush()

    assert events.texts == ["ab"]


async def test_piece_larger_than_an_event_is_cut_without_a_loss() -> None:
    events = Events()
    coalescer = Coalescer(events, DeltaPace(CoalescingPolicy()))
    long = "\x00é" * 100_000

    coalescer.add([Piece("tool_call", 0, long, 0, "call", "f"), text(long)])

    calls = [delta for event in events.sent for delta in event if isinstance(delta, ToolCallDelta)]
    words = [delta for event in events.sent for delta in event if isinstance(delta, TextDelta)]
    assert "".join(delta.arguments for delta in calls) == long
    assert "".join(delta.text for delta in words) == long
    assert [(delta.id, delta.name) for delta in calls] == [("call", "f"), *[(None, None)] * 3]
    sizes = [sum(len(encode_model(delta)) for delta in event) for event in events.sent]
    assert max(sizes) < 768 * 1024


async def test_second_tool_call_of_the_same_place_begins_a_delta_of_its_own() -> None:
    deltas = joined(
        [
            Piece("tool_call", 0, "{", 0, "a", "f"),
            Piece("tool_call", 0, "}", 0),
            Piece("tool_call", 0, "{}", 0, "b", "g"),
        ]
    )

    assert deltas == [
        ToolCallDelta(index=0, id="a", name="f", arguments="{}"),
        ToolCallDelta(index=0, id="b", name="g", arguments="{}"),
    ]


@given(st.lists(PIECES, max_size=30))
def test_joined_keeps_every_character_in_its_place(pieces: list[Piece]) -> None:
    deltas = joined(pieces)

    def flat(parts: Sequence[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
        return [(kind, choice, char) for kind, choice, word in parts for char in word]

    assert flat([(delta.type, delta.choice, text_of(delta)) for delta in deltas]) == flat(
        [(piece.kind, piece.choice, piece.text) for piece in pieces]
    )
