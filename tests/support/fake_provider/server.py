"""The server: routes, charging, and who answers how."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

from tests.support.fake_provider.answers import (
    Answer,
    embedding,
    error_body,
    make_answer,
    text_of,
)
from tests.support.fake_provider.http import HttpConnection, HttpRequest, plain_response
from tests.support.fake_provider.journal import Call, Journal
from tests.support.fake_provider.pacer import Pacer
from tests.support.fake_provider.script import BadScript, Script, read_script
from tests.support.fake_provider.streams import TokenStream, flood, loris

__all__ = ["FakeProvider"]


class FakeProvider:
    """An OpenAI-compatible provider on loopback.

    Attributes:
        journal: every call, see `Journal`.
        defaults: the script of calls that bring none; may be replaced between calls.
        port: the bound port, after `start`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        log: Path | None = None,
        defaults: Script | None = None,
        api_key: str | None = None,
    ) -> None:
        self.port = port
        self.journal = Journal(path=log)
        self.defaults = defaults or Script()
        self._api_key = api_key
        self._earlier: dict[str, int] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[HttpConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._routes: dict[tuple[str, str], Callable[[HttpConnection, HttpRequest], None]] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/embeddings"): self._embed,
            ("GET", "/v1/models"): self._models,
            ("GET", "/healthz"): self._health,
        }

    @property
    def base_url(self) -> str:
        """What a client takes as `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Return when the port is bound."""
        loop = asyncio.get_running_loop()
        self._pacer = Pacer(loop)
        self.journal.open()
        self._server = await loop.create_server(
            self._connection, "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop every connection; works twice."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.abort()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None
        self.journal.close()

    def _connection(self) -> HttpConnection:
        connection = HttpConnection(self._route)
        self._connections = {c for c in self._connections if c.transport is not None}
        self._connections.add(connection)
        return connection

    def _route(self, connection: HttpConnection, request: HttpRequest) -> None:
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            self._answer(connection, 404, error_body(404, f"no route {request.path}"))
        elif self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            self._answer(connection, 401, error_body(401, "Incorrect API key provided"))
        else:
            handler(connection, request)

    @staticmethod
    def _answer(
        connection: HttpConnection, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        connection.write(plain_response(status, body, headers))
        connection.finish()

    def _health(self, connection: HttpConnection, request: HttpRequest) -> None:
        del request
        facts = {"status": "ok", "calls": self.journal.calls, "running": self.journal.running}
        self._answer(connection, 200, orjson.dumps(facts))

    def _models(self, connection: HttpConnection, request: HttpRequest) -> None:
        del request
        names = ("fake", "fake-embed")
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "penstock"} for name in names
        ]
        self._answer(connection, 200, orjson.dumps({"object": "list", "data": data}))

    def _embed(self, connection: HttpConnection, request: HttpRequest) -> None:
        try:
            body = orjson.loads(request.body)
            texts = [body["input"]] if isinstance(body["input"], str) else list(body["input"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            self._answer(connection, 400, error_body(400, "the body is no embeddings request"))
            return
        begun = self._begin(connection, request, body, [str(text) for text in texts])
        if begun is None:
            return
        call, _, _ = begun
        as_base64 = body.get("encoding_format") == "base64"
        size = int(body.get("dimensions") or 384)
        vectors = [embedding(str(text), dimensions=size, as_base64=as_base64) for text in texts]
        tokens = sum((len(str(text)) + 3) // 4 for text in texts)
        answer = {
            "object": "list",
            "model": body.get("model"),
            "data": [
                {"object": "embedding", "index": index, "embedding": vector}
                for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        self.journal.ended(call, "completed")
        self._answer(connection, 200, orjson.dumps(answer))

    def _chat(self, connection: HttpConnection, request: HttpRequest) -> None:
        try:
            body = orjson.loads(request.body)
            users = [text_of(m.get("content")) for m in body["messages"] if m.get("role") == "user"]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            self._answer(connection, 400, error_body(400, "the body is no chat request"))
            return
        begun = self._begin(connection, request, body, users or [""])
        if begun is None:
            return
        call, script, earlier = begun
        connection.on_gone = lambda: self.journal.ended(call, "aborted")
        answer = make_answer(script, body, number=call.number, earlier=earlier)
        if body.get("stream"):
            self._stream(connection, call, script, answer)
        else:
            self._whole(connection, call, script, answer)

    def _begin(
        self,
        connection: HttpConnection,
        request: HttpRequest,
        body: dict[str, Any],
        texts: list[str],
    ) -> tuple[Call, Script, int] | None:
        """Charge the call, or answer what its script says; None if there is nothing left to do."""
        model = str(body.get("model", ""))
        try:
            script = read_script(self.defaults, model=model, message=texts[-1] if texts else "")
        except BadScript as error:
            self._answer(connection, 400, error_body(400, str(error)))
            return None
        call = self.journal.begin(
            path=request.path,
            model=model,
            headers=request.headers,
            first_user=texts[0] if texts else "",
        )
        earlier = self._count(call)
        if script.times and earlier >= script.times:
            script = script.without_faults()
        if self._refuses(connection, call, script):
            return None
        self.journal.charged(call)
        return call, script, earlier

    def _count(self, call: Call) -> int:
        who = call.job or call.first_user
        earlier = self._earlier.get(who, 0)
        if len(self._earlier) > 100_000:
            self._earlier.clear()
        self._earlier[who] = earlier + 1
        return earlier

    def _refuses(self, connection: HttpConnection, call: Call, script: Script) -> bool:
        if script.redirect:
            self.journal.refused(call, 302)
            self._answer(connection, 302, b"{}", {"location": script.redirect})
        elif script.status != 200:
            self.journal.refused(call, script.status)
            headers = {}
            if script.retry_after >= 0:
                headers["retry-after"] = f"{script.retry_after:g}"
            body = error_body(script.status, f"scripted status {script.status}")
            self._answer(connection, script.status, body, headers)
        else:
            return False
        return True

    def _stream(
        self, connection: HttpConnection, call: Call, script: Script, answer: Answer
    ) -> None:
        if script.hang == 0:
            return
        if script.loris_ms:
            self._spawn(
                loris(connection, self.journal, call, answer, pause_s=script.loris_ms / 1000)
            )
        elif script.flood_bytes:
            self._spawn(flood(connection, self.journal, call, answer, size=script.flood_bytes))
        else:
            stream = TokenStream(connection, self.journal, call, script, answer)
            now = asyncio.get_running_loop().time()
            self._pacer.add(stream, now + script.ttft_ms / 1000)

    def _whole(
        self, connection: HttpConnection, call: Call, script: Script, answer: Answer
    ) -> None:
        if script.hang >= 0:
            return

        async def later() -> None:
            pause_s = script.ttft_ms / 1000
            if script.rate > 0:
                pause_s += len(answer.pieces) / script.rate
            await asyncio.sleep(pause_s)
            if not call.is_over:
                call.tokens = len(answer.pieces)
                self.journal.ended(call, "completed")
                self._answer(connection, 200, answer.body())

        self._spawn(later())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="fake provider answer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
