"""Part 1: a chat job by REST, its tokens on a WebSocket that is cut and resumed without loss."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from penstock_contracts.events import DeltaEvent

from penstock.client import AsyncClient, Transcript, output_text
from penstock.demo.report import Report

__all__ = ["show_chat"]

_QUESTION = "Explain in four sentences why a river flows to the sea."
_CUT_AFTER = 8
"""Delta events before the cut: some text is there, and more is to come."""
_TIMEOUT_S = 300.0


async def show_chat(client: AsyncClient, report: Report) -> None:
    """Run the part.

    Raises:
        DemoFailed: text was lost or doubled.
        ClientError: the stack refused something.
    """
    async with asyncio.timeout(_TIMEOUT_S):
        job = await client.submit(
            "chat",
            {"messages": [{"role": "user", "content": _QUESTION}]},
            params={"max_tokens": 96, "temperature": 0},
        )
        report.step(f"POST /v1/jobs answered 202: {job.id} is {job.status.value}")
        transcript = Transcript()
        await _read_until_cut(client, job.id, transcript, report)
        await _resume(client, job.id, transcript, report)
        final = output_text(await client.result(job.id))
    report.check(transcript.gaps == 0, "an unbroken sequence of events over both connections")
    report.check(
        transcript.text == final, "the text from the socket to equal the result word by word"
    )
    report.step(f"{len(transcript.text)} characters from the socket equal the stored result")
    report.step(f"answer: {_shortened(transcript.text)}")


async def _read_until_cut(
    client: AsyncClient, job: str, transcript: Transcript, report: Report
) -> None:
    deltas = 0
    async with aclosing(client.events(job, over="socket")) as events:
        async for event in events:
            transcript.take(event)
            if isinstance(event, DeltaEvent):
                deltas += 1
                if deltas == 1:
                    report.step(f"first token on the WebSocket at {event.position}")
            if deltas == _CUT_AFTER:
                break
    report.step(
        f"socket cut after {deltas} deltas at {transcript.position}, "
        f"{len(transcript.text)} characters"
    )


async def _resume(client: AsyncClient, job: str, transcript: Transcript, report: Report) -> None:
    after = transcript.position
    count = 0
    async with aclosing(client.events(job, after=after, over="socket")) as events:
        async for event in events:
            transcript.take(event)
            count += 1
            if count == 1:
                report.step(f"new socket, resumed after {after} with {event.position}")
    ended = transcript.last.type if transcript.last is not None else "nothing"
    report.step(f"{count} more events, the last is {ended} at {transcript.position}")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LINE_CHARS else line[: _LINE_CHARS - 1] + "…"


_LINE_CHARS = 100
