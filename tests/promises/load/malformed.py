"""Records that break the contract, each in its own way; all must come out at `ai.dead.v1`."""

from __future__ import annotations

import asyncio
import base64
import json
from random import Random

from tests.promises.journal import Journal
from tests.promises.load.direct import DirectProducers

__all__ = ["send_malformed"]

_TOPIC = "ai.chat.requests.v1"
_GOOD: list[tuple[str, bytes]] = [
    ("ce_specversion", b"1.0"),
    ("ce_source", b"rig/malformed"),
    ("ce_type", b"penstock.job.request.v1"),
    ("ce_tenant", b"dev"),
    ("content-type", b"application/json"),
]
_BODY = b'{"task": "chat", "input": {"messages": [{"role": "user", "content": "x"}]}}'


def _variants(name: bytes, random: Random) -> list[tuple[bytes, list[tuple[str, bytes]]]]:
    good = [*_GOOD, ("ce_id", name)]
    return [
        (random.randbytes(64), []),
        (b"{not json", good),
        (b'{"task": "chat"}', good),
        (b'{"task": "no-such-task", "input": {"messages": []}}', good),
        (_BODY, [(key, b"another.type" if key == "ce_type" else raw) for key, raw in good]),
        (_BODY, [*good, ("ce_subject", b"job_" + b"0" * 32)]),
        (_BODY + b"\x00\xff\xfe", good),
        (b"", good),
    ]


async def send_malformed(
    producers: DirectProducers, transcript: Journal, *, seed: int, count: int, seconds: float
) -> None:
    """Write them over the whole time. The transcript has their exact bytes, once acknowledged."""
    random = Random(f"malformed {seed}")
    for number in range(count):
        await asyncio.sleep(seconds / (count + 1) * random.uniform(0.5, 1.0))
        name = f"malformed-{number}".encode()
        variants = _variants(name, random)
        value, headers = variants[number % len(variants)]
        headers = [*headers, ("rig_id", name)]
        place = None
        for _ in range(20):
            place = await producers.write(
                random.choice(("confluent", "aiokafka")),
                _TOPIC,
                key=name,
                value=value,
                headers=headers,
            )
            if place is not None:
                break
        transcript.write(
            name=name.decode(),
            place=place,
            value=base64.b64encode(value).decode(),
            headers=json.dumps([[key, base64.b64encode(raw).decode()] for key, raw in headers]),
        )
