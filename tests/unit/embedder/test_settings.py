from __future__ import annotations

import pytest
from embedder.settings import EmbedderSettings
from penstock_kit.settings import BadSettings, load_settings


def test_place_of_the_vectors_that_is_missing_is_told_with_all_other_problems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PENSTOCK_KAFKA__BOOTSTRAP", "a:1")
    monkeypatch.setenv("PENSTOCK_REDIS__URL", "redis://a")
    monkeypatch.setenv("PENSTOCK_AUTH__ID_SECRET", "s" * 32)
    monkeypatch.setenv("PENSTOCK_ADMIN__PORT", "0")

    with pytest.raises(BadSettings) as refused:
        load_settings(EmbedderSettings)

    assert "PENSTOCK_BLOBS__URL is missing" in str(refused.value)
    assert "set exactly one of PENSTOCK_EMBEDDER__QDRANT_URL" in str(refused.value)
