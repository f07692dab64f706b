"""Every moderator keeps the port's promises: our rules, and an upstream on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from gateway.openai.moderations.categories import CATEGORIES
from gateway.openai.moderations.ports import ModerationRefused, Moderator, ModeratorAway
from gateway.openai.moderations.rules import load_rules
from gateway.openai.moderations.upstream import UpstreamEntry, UpstreamModerator

from tests.support.moderation_upstream import ModerationUpstream


@pytest.fixture
async def server() -> AsyncIterator[ModerationUpstream]:
    upstream = ModerationUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


def entry(server: ModerationUpstream, **changed: object) -> UpstreamEntry:
    values = {"url": server.url, "api_key": "secret", "timeout": timedelta(seconds=5)}
    return UpstreamEntry(**{**values, **changed})  # type: ignore[arg-type]  # a test's shorthand


@pytest.fixture(params=["rules", "upstream"])
async def moderator(
    request: pytest.FixtureRequest, server: ModerationUpstream
) -> AsyncIterator[Moderator]:
    made: Moderator = (
        load_rules(None) if request.param == "rules" else UpstreamModerator(entry(server))
    )
    yield made
    await made.close()
    await made.close()


async def test_judge_gives_one_verdict_per_text_in_order(moderator: Moderator) -> None:
    texts = ["good morning", "I will kill them", "", "good night"]

    judgement = await moderator.judge(texts, model=None)

    assert ["violence" in found.flagged for found in judgement.verdicts] == [
        False,
        True,
        False,
        False,
    ]
    assert judgement.model
    for found in judgement.verdicts:
        assert set(found.scores) == set(CATEGORIES)
        assert all(0 <= score <= 1 for score in found.scores.values())
        assert found.flagged <= set(found.scores)


async def test_verdict_does_not_depend_on_what_stands_beside_it(moderator: Moderator) -> None:
    alone = await moderator.judge(["I will kill them"], model=None)
    beside = await moderator.judge(["x", "I will kill them", "y"], model=None)

    assert beside.verdicts[1] == alone.verdicts[0]


async def test_rules_refuse_models_that_they_do_not_know() -> None:
    with pytest.raises(ModerationRefused) as caught:
        await load_rules(None).judge(["x"], model="gpt-4o")

    assert (caught.value.code, caught.value.field) == ("model_not_found", "model")


async def test_upstream_gets_the_key_the_model_and_the_texts(server: ModerationUpstream) -> None:
    moderator = UpstreamModerator(entry(server))
    judgement = await moderator.judge(["a", "b"], model="omni-moderation-latest")
    await moderator.close()

    headers, asked = server.seen[0]
    assert headers["Authorization"] == "Bearer secret"
    assert asked == {"input": ["a", "b"], "model": "omni-moderation-latest"}
    assert judgement.model == "omni-moderation-latest"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, {"error": {"code": "model_not_found"}}, "model_not_found"),
        (400, {"error": {"code": "x", "message": "PRIVATE"}}, "upstream_refused"),
        (422, ["no object"], "upstream_refused"),
    ],
)
async def test_upstream_when_it_refuses_is_told_apart_from_being_away(
    server: ModerationUpstream, status: int, body: object, code: str
) -> None:
    server.status, server.body = status, body
    moderator = UpstreamModerator(entry(server))
    with pytest.raises(ModerationRefused) as caught:
        await moderator.judge(["x"], model="m")
    await moderator.close()

    assert caught.value.code == code
    assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {}),
        (401, {"error": {"code": "invalid_api_key"}}),
        (429, {}),
        (302, {}),
        (200, {"results": []}),
        (200, {"model": "m", "results": []}),
        (200, {"model": "m", "results": [{"categories": {}, "category_scores": {"hate": 7}}]}),
    ],
)
async def test_upstream_when_it_cannot_judge_is_away(
    server: ModerationUpstream, status: int, body: object
) -> None:
    server.status, server.body, server.headers = status, body, {"Retry-After": "7"}
    moderator = UpstreamModerator(entry(server))
    with pytest.raises(ModeratorAway) as caught:
        await moderator.judge(["x"], model=None)
    await moderator.close()

    assert caught.value.retry_after_s == (None if status == 200 else 7)


async def test_upstream_when_it_hangs_or_is_gone_is_away(server: ModerationUpstream) -> None:
    server.hangs = True
    moderator = UpstreamModerator(entry(server, timeout=timedelta(milliseconds=50)))
    with pytest.raises(ModeratorAway):
        await moderator.judge(["x"], model=None)
    await server.stop()
    with pytest.raises(ModeratorAway):
        await moderator.judge(["x"], model=None)
    await moderator.close()


async def test_upstream_when_its_answer_comes_in_parts_is_read_to_the_end(
    server: ModerationUpstream,
) -> None:
    texts = [f"text {number}" for number in range(3000)]  # far more than one read gives
    moderator = UpstreamModerator(entry(server))
    judgement = await moderator.judge(texts, model=None)
    await moderator.close()

    assert len(judgement.verdicts) == len(texts)


async def test_upstream_when_its_answer_has_no_end_is_away(server: ModerationUpstream) -> None:
    server.body = "x" * (17 * 1024 * 1024)
    moderator = UpstreamModerator(entry(server))
    with pytest.raises(ModeratorAway, match="sends more than"):
        await moderator.judge(["x"], model=None)
    await moderator.close()
