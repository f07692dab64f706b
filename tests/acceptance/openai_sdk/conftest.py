"""Clients of the `openai` package, unmodified, at a stack whose model does what a test scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import openai
import pytest
from penstock.dev.launch import take_down
from penstock.dev.paths import StackPaths

from tests.acceptance.conftest import Stack, start_at
from tests.support.provider_process import ProviderProcess, fake_provider

__all__ = ["EMBEDDER", "MODEL", "ScriptedStack"]

EMBEDDER = "all-minilm-l6-v2-int8"
"""The local model of the embedder."""
MODEL = "fake"
"""Its answers are scripted in the prompt, see tests/support/fake_provider/README.md."""


@dataclass(frozen=True, slots=True)
class ScriptedStack:
    """A stack over the fake provider; do not stop its processes."""

    stack: Stack
    provider: ProviderProcess

    @property
    def base_url(self) -> str:
        """What a client of OpenAI's is given."""
        return f"{self.stack.dev.gateway}/v1"

    @property
    def api_key(self) -> str:
        """The user's key."""
        return self.stack.dev.user_key


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedStack]:
    """One stack for the whole session."""
    root = tmp_path_factory.mktemp("scripted")
    with fake_provider(root, script="tokens=6;ttft_ms=5;rate=400") as provider:
        try:
            yield ScriptedStack(
                start_at(root / "stack", {"providers": provider.providers}), provider
            )
        finally:
            take_down(StackPaths(root / "stack"))


@pytest.fixture
def client(scripted: ScriptedStack) -> Iterator[openai.OpenAI]:
    """The synchronous client."""
    with openai.OpenAI(base_url=scripted.base_url, api_key=scripted.api_key) as made:
        yield made


@pytest.fixture
async def aclient(scripted: ScriptedStack) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous client."""
    async with openai.AsyncOpenAI(base_url=scripted.base_url, api_key=scripted.api_key) as made:
        yield made
