from __future__ import annotations

import pytest
from embedder.ports import TokenizedText
from embedder.waiting import BatchPolicy, Ticket, Urgency, WaitingTexts
from hypothesis import given, settings
from hypothesis import strategies as st


def ticket(*lengths: int, urgency: Urgency = Urgency.BULK, dimensions: int | None = None) -> Ticket:
    texts = [TokenizedText("x", length) for length in lengths]
    return Ticket(texts, urgency=urgency, dimensions=dimensions)


def taken(waiting: WaitingTexts, *, now: float = 0) -> list[int]:
    batch = waiting.next_batch(now=now)
    return [] if batch is None else [item.text.tokens for item in batch.items]


async def test_next_batch_when_lengths_differ_joins_similar_ones_within_the_budget() -> None:
    waiting = WaitingTexts(BatchPolicy(max_tokens=400, max_padding=0.2, free_padding=0))
    waiting.add(ticket(10, 200, 95, 190, 100, 9), now=0)

    assert [taken(waiting) for _ in range(4)] == [[190, 200], [95, 100], [9, 10], []]


async def test_next_batch_when_a_text_exceeds_the_budget_runs_it_alone() -> None:
    waiting = WaitingTexts(BatchPolicy(max_tokens=100))
    waiting.add(ticket(500, 499), now=0)

    assert taken(waiting) == [500]


async def test_next_batch_when_a_query_waits_takes_it_before_bulk() -> None:
    waiting = WaitingTexts(BatchPolicy())
    waiting.add(ticket(10, 10), now=0)
    waiting.add(ticket(7, urgency=Urgency.QUERY), now=0)

    assert taken(waiting) == [7]
    assert taken(waiting) == [10, 10]


async def test_next_batch_when_bulk_waited_long_takes_one_bulk_batch_between_queries() -> None:
    waiting = WaitingTexts(BatchPolicy(max_texts=1, max_bulk_wait_s=1))
    waiting.add(ticket(10, 11), now=0)
    for _ in range(4):
        waiting.add(ticket(7, urgency=Urgency.QUERY), now=0)

    assert taken(waiting, now=0.9) == [7]
    assert taken(waiting, now=1.0) == [11]
    assert taken(waiting, now=1.1) == [7]
    assert taken(waiting, now=2.0) == [10]


async def test_next_batch_when_jobs_compete_serves_them_in_turn() -> None:
    waiting = WaitingTexts(BatchPolicy(max_texts=1))
    waiting.add(ticket(*[50] * 5), now=0)
    waiting.add(ticket(20), now=0)

    assert [taken(waiting), taken(waiting), taken(waiting)] == [[50], [20], [50]]


async def test_next_batch_when_dimensions_differ_never_mixes_them() -> None:
    waiting = WaitingTexts(BatchPolicy())
    waiting.add(ticket(5, dimensions=8), now=0)
    waiting.add(ticket(5, dimensions=16), now=0)

    first, second = waiting.next_batch(now=0), waiting.next_batch(now=0)

    assert first is not None
    assert second is not None
    assert (first.dimensions, second.dimensions) == (8, 16)


async def test_withdraw_when_partly_taken_removes_the_rest() -> None:
    waiting = WaitingTexts(BatchPolicy(max_texts=1))
    gone, stays = ticket(30, 20), ticket(10)
    waiting.add(gone, now=0)
    waiting.add(stays, now=0)
    taken(waiting)

    assert waiting.withdraw(gone) == 1
    assert taken(waiting) == [10]
    assert taken(waiting) == []
    assert waiting.withdraw(gone) == 0


async def test_has_room_for_when_full_lets_queries_and_a_first_job_in() -> None:
    waiting = WaitingTexts(BatchPolicy(max_waiting_texts=2))
    huge = ticket(1, 1, 1)
    assert waiting.has_room_for(huge)

    waiting.add(huge, now=0)

    assert not waiting.has_room_for(ticket(1))
    assert waiting.has_room_for(ticket(1, urgency=Urgency.QUERY))


@pytest.mark.filterwarnings("ignore::pytest.PytestRemovedIn10Warning")
@settings(deadline=None)
@given(
    jobs=st.lists(
        st.tuples(
            st.lists(st.integers(1, 600), min_size=1, max_size=12),
            st.sampled_from(Urgency),
        ),
        max_size=12,
    ),
    budget=st.integers(1, 1200),
)
async def test_next_batch_when_drained_serves_every_text_once_within_limits(
    jobs: list[tuple[list[int], Urgency]], budget: int
) -> None:
    policy = BatchPolicy(max_tokens=budget, max_texts=5)
    waiting = WaitingTexts(policy)
    tickets = [ticket(*lengths, urgency=urgency) for lengths, urgency in jobs]
    for one in tickets:
        waiting.add(one, now=0)

    seen: list[tuple[int, int]] = []
    while (batch := waiting.next_batch(now=0)) is not None:
        longest = max(item.text.tokens for item in batch.items)
        assert len(batch.items) == 1 or len(batch.items) * longest <= budget
        assert len(batch.items) <= 5
        seen += [(tickets.index(item.ticket), item.index) for item in batch.items]

    assert sorted(seen) == [
        (number, index) for number, (texts, _) in enumerate(jobs) for index in range(len(texts))
    ]
