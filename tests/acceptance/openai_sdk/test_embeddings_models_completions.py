"""`client.embeddings`, `client.models` and `client.completions`, unmodified."""

from __future__ import annotations

import math

import numpy as np
import openai
import pytest

from tests.acceptance.openai_sdk.conftest import EMBEDDER, MODEL

pytestmark = pytest.mark.timeout(300)


def test_embeddings_when_texts_are_given_are_unit_vectors_in_order(client: openai.OpenAI) -> None:
    # The package asks for base64 by itself and decodes it; `float` is asked for by name.
    packed = client.embeddings.create(model=EMBEDDER, input=["A cat sleeps.", "Rivers flow."])
    plain = client.embeddings.create(model=EMBEDDER, input="Rivers flow.", encoding_format="float")

    assert [item.index for item in packed.data] == [0, 1]
    assert len(packed.data[0].embedding) == 384
    assert math.isclose(float(np.linalg.norm(packed.data[0].embedding)), 1, abs_tol=1e-4)
    assert np.allclose(packed.data[1].embedding, plain.data[0].embedding, atol=1e-3)
    assert packed.usage.prompt_tokens > plain.usage.prompt_tokens > 0


async def test_embeddings_when_tokens_are_given_are_those_of_the_text(
    aclient: openai.AsyncOpenAI,
) -> None:
    # "water" is one token of the model's own vocabulary.
    text = await aclient.embeddings.create(model=EMBEDDER, input="water")
    tokens = await aclient.embeddings.create(model=EMBEDDER, input=[[2300], [2300]])

    assert np.allclose(text.data[0].embedding, tokens.data[0].embedding, atol=1e-3)
    assert len(tokens.data) == 2


def test_embeddings_when_a_token_is_foreign_names_its_list(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=EMBEDDER, input=[[2300], [99999999]])

    assert (refused.value.code, refused.value.param) == ("unknown_token", "input[1]")


def test_embeddings_when_dimensions_do_not_fit_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=EMBEDDER, input="water", dimensions=256)

    assert (refused.value.code, refused.value.param) == ("unsupported_dimensions", "dimensions")


def test_models_when_listed_are_those_that_work(client: openai.OpenAI) -> None:
    found = {model.id: model.owned_by for model in client.models.list()}

    assert found == {MODEL: "fake", EMBEDDER: "penstock"}
    assert client.models.retrieve(MODEL).object == "model"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("gpt-9")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_completions_when_created_answer_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=MODEL, prompt="hello", max_tokens=3, echo=True)
    chunks = list(client.completions.create(model=MODEL, prompt="hello", max_tokens=3, stream=True))

    assert whole.id.startswith("cmpl-")
    assert whole.choices[0].text == "helloalf bra cha "
    assert "".join(chunk.choices[0].text for chunk in chunks) == "alf bra cha "
    assert chunks[-1].choices[0].finish_reason == "stop"
