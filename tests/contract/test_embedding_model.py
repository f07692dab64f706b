"""One suite for every embedding model."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from embedder.errors import UnusableText
from embedder.fake_model import FakeModel
from embedder.local_model import LocalModel
from embedder.ports import EmbeddingModel
from embedder.settings import ModelSettings, local_spec

TEXTS = ["A cat sleeps.", "Rivers carry water to the sea, slowly, all year long.", "42"]


@pytest.fixture(params=["fake", "local"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[EmbeddingModel]:
    made: EmbeddingModel = (
        FakeModel()
        if request.param == "fake"
        else LocalModel(local_spec(ModelSettings()), threads=1)
    )
    await made.start()
    yield made
    await made.stop()


async def test_embed_when_called_gives_unit_float32_rows_in_order(model: EmbeddingModel) -> None:
    texts = await model.tokenize(TEXTS)

    together = (await model.embed(texts)).vectors
    alone = [(await model.embed([text])).vectors[0] for text in texts]

    assert together.shape == (3, model.spec.dimensions)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(together, np.stack(alone), atol=1e-3)


async def test_tokenize_when_text_is_long_cuts_nothing(model: EmbeddingModel) -> None:
    [short, long] = await model.tokenize(["water", "water " * 3000])

    assert short.tokens == 1 + model.spec.added_tokens
    assert long.tokens == 3000 + model.spec.added_tokens


async def test_words_when_joined_cover_the_text_and_cost_its_tokens(model: EmbeddingModel) -> None:
    text = "Penstocks carry water, under pressure; unbelievably fast!"

    words = await model.words(text)
    [whole] = await model.tokenize([text])

    assert sum(word.tokens for word in words) == whole.tokens - model.spec.added_tokens
    covered = "".join(text[word.start : word.end] for word in words)
    assert covered == text.replace(" ", "")


async def test_tokenize_when_text_has_nothing_to_read_counts_added_tokens_only(
    model: EmbeddingModel,
) -> None:
    [blank] = await model.tokenize([" \n\t "])

    assert blank.tokens == model.spec.added_tokens


async def test_from_ids_when_a_token_is_foreign_names_its_list(model: EmbeddingModel) -> None:
    with pytest.raises(UnusableText) as refused:
        await model.from_ids([[1, 2], [3, 10**7]])

    assert (refused.value.code, refused.value.index) == ("unknown_token", 1)


async def test_from_ids_when_a_tokenizer_made_them_gives_the_vector_of_the_text() -> None:
    model = LocalModel(local_spec(ModelSettings()), threads=1)
    await model.start()
    [text] = await model.tokenize([TEXTS[1]])
    assert text.ids is not None

    [same] = await model.from_ids([text.ids[1:-1].tolist()])
    vectors = (await model.embed([text, same])).vectors
    await model.stop()

    assert same.tokens == text.tokens
    assert np.allclose(vectors[0], vectors[1], atol=1e-5)


async def test_stop_when_called_twice_or_unstarted_is_quiet() -> None:
    model = LocalModel(local_spec(ModelSettings()), threads=1)

    await model.stop()
    await model.stop()
