"""A small OpenAI-compatible moderation server on a real port; tests turn what it answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from gateway.openai.moderations.categories import CATEGORIES

__all__ = ["ModerationUpstream"]


@dataclass
class ModerationUpstream:
    """Flags `violence` in what says kill; `status` and `body` change what it answers."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    seen: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    url: str = ""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/v1/moderations", self._answer)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/v1"

    async def stop(self) -> None:
        """Close; works twice."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.seen.append((dict(request.headers), asked))
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.body is not None or self.status != 200:
            return web.json_response(self.body, status=self.status, headers=self.headers)
        return web.json_response(
            {
                "id": "modr-1",
                "model": asked.get("model", "omni-moderation-2024-09-26"),
                "results": [_result("kill" in text) for text in asked["input"]],
            }
        )


def _result(is_found: bool) -> dict[str, Any]:
    return {
        "flagged": is_found,
        "categories": {name: is_found and name == "violence" for name in CATEGORIES},
        "category_scores": {
            name: 0.9 if is_found and name == "violence" else 0.0001 for name in CATEGORIES
        },
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
