"""A stranger with any WebSocket client and the README can follow a job; another tenant cannot."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import websockets

from tests.acceptance.conftest import Stack


def _post(stack: Stack, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - our own address
        stack.dev.gateway + path,
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {stack.dev.api_key}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own address
        found: dict[str, Any] = json.load(answer)
        return found


def _socket(stack: Stack) -> websockets.connect:
    protocol = websockets.Subprotocol("penstock.v1.json")
    return websockets.connect(f"{stack.dev.notifier}/v1/socket", subprotocols=[protocol])


async def test_stranger_follows_a_job_to_its_end(stack: Stack) -> None:
    job = _post(stack, "/v1/jobs", {"task": "chat", "input": "Hi", "params": {"max_tokens": 20}})

    async with _socket(stack) as socket:
        await socket.send(json.dumps({"type": "auth", "token": stack.dev.api_key}))
        await socket.send(json.dumps({"type": "subscribe", "job": job["id"]}))
        text, ended = "", None
        while ended is None:
            message = json.loads(await socket.recv())
            event = message.get("event", message)
            if message["type"] == "snapshot":
                text = "".join(piece["text"] for piece in message["deltas"])
            if event["type"] == "delta":
                text += "".join(piece["text"] for piece in event["deltas"])
            if "output" in event:
                ended = event["output"]["choices"][0]["text"]

    assert text == ended


async def test_another_tenant_s_key_cannot_follow_the_job(stack: Stack) -> None:
    job = _post(stack, "/v1/jobs", {"task": "chat", "input": "Hi", "params": {"max_tokens": 4}})

    async with _socket(stack) as socket:
        await socket.send(json.dumps({"type": "auth", "token": stack.dev.other_api_key}))
        await socket.send(json.dumps({"type": "subscribe", "job": job["id"]}))
        answers = [json.loads(await socket.recv()) for _ in range(2)]

    assert [answer["type"] for answer in answers] == ["ready", "error"]
    assert answers[1]["code"] == "not_found"
