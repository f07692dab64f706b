"""`client.moderations` of the `openai` package, unmodified, at real processes."""

from __future__ import annotations

import openai
import pytest
from openai.types import ModerationImageURLInputParam

IMAGE: ModerationImageURLInputParam = {
    "type": "image_url",
    "image_url": {"url": "https://example.com/x.png"},
}
pytestmark = pytest.mark.timeout(180)


def test_moderations_create_gives_typed_results(client: openai.OpenAI) -> None:
    found = client.moderations.create(
        model="omni-moderation-latest", input=["Good morning", "I will kill you"]
    )

    assert found.id.startswith("modr-")
    assert [result.flagged for result in found.results] == [False, True]
    assert found.results[1].categories.harassment_threatening is True
    assert found.results[1].category_scores.harassment_threatening >= 0.5
    assert found.results[0].category_scores.sexual_minors == 0
    assert found.results[1].category_applied_input_types.violence == ["text"]


async def test_moderations_refuse_an_image_by_name(aclient: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await aclient.moderations.create(input=[IMAGE])

    assert caught.value.param == "input[0].type"
    assert caught.value.code == "unsupported_value"
