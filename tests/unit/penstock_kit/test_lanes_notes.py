from hypothesis import given
from hypothesis import strategies as st
from penstock_kit.lanes.notes import decode_note, encode_note


@given(
    position=st.integers(0, 2**62),
    beyond=st.sets(st.integers(0, 14_000), max_size=400),
)
def test_note_when_decoded_then_tells_the_same_offsets(position: int, beyond: set[int]) -> None:
    finished = {position + offset for offset in beyond}

    note = encode_note(position, finished)

    assert decode_note(position, note) == finished
    assert len(note) < 4096


def test_note_when_nothing_is_finished_then_empty() -> None:
    assert encode_note(7, []) == ""
    assert decode_note(7, "") == frozenset()


def test_note_when_offsets_lie_too_far_then_only_the_near_ones_are_told() -> None:
    note = encode_note(0, [3, 10**9])

    assert decode_note(0, note) == {3}
    assert len(note) < 4096


@given(st.text())
def test_note_of_somebody_else_when_decoded_then_tells_nothing_or_offsets(text: str) -> None:
    assert all(offset >= 5 for offset in decode_note(5, text))
