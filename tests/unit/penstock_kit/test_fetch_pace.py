"""The live reader answers the few at once and gathers the many."""

from __future__ import annotations

from penstock_kit.tail.fetch_pace import CROWDED, EAGER, GATHERING, UNHURRIED, FetchPace


def test_a_few_streams_are_fetched_at_once() -> None:
    pace = FetchPace(0.0)

    waits = {pace.note(1, number / 200, has_listeners=True) for number in range(1, 201)}

    assert waits == {EAGER}


def test_many_streams_are_gathered_after_a_moment_and_until_they_are_few_again() -> None:
    pace = FetchPace(0.0)

    many = [pace.note(1, number / 500, has_listeners=True) for number in range(1, 101)]
    few = [pace.note(1, 0.2 + number / 20, has_listeners=True) for number in range(1, 5)]

    assert many[:49] == [EAGER] * 49
    assert many[-1] is GATHERING
    assert few[-1] is EAGER


def test_very_many_streams_are_gathered_for_longer() -> None:
    pace = FetchPace(0.0)

    assert pace.note(200, 0.11, has_listeners=True) is CROWDED


def test_silence_makes_it_eager_again() -> None:
    pace = FetchPace(0.0)
    pace.note(50, 0.11, has_listeners=True)

    assert pace.wait is GATHERING
    assert pace.note(0, 0.61, has_listeners=True) is EAGER


def test_where_nobody_listens_batches_are_larger_until_somebody_does() -> None:
    pace = FetchPace(0.0)

    alone = pace.note(10, 0.11, has_listeners=False)
    heard = pace.note(1, 0.14, has_listeners=True)

    assert (alone, heard) == (UNHURRIED, EAGER)


def test_where_nobody_listens_and_little_comes_an_empty_topic_is_asked_rarely() -> None:
    pace = FetchPace(0.0)

    assert pace.note(1, 0.11, has_listeners=False) is EAGER
