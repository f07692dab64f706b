"""A file of 50,000 lines is taken and looked through in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LINES = 50_000
LINE_BYTES = 1_000
MOST_GROWTH_MB = 50

PROGRAM = """
import asyncio, json, resource, sys
from contextlib import aclosing
from pathlib import Path

from gateway.openai.batches.checking import LineChecker
from gateway.openai.batches.lines import numbered_lines
from gateway.openai.batches.translating import EndpointTranslators, understand_chat
from gateway.openai.batches.validating import look_through
from gateway.openai.files.form import FormLimits, FormReader, form_boundary
from gateway.openai.known_models import KnownModels
from penstock_contracts.credentials import Scope
from penstock_kit.auth.principal import Principal
from penstock_kit.blobs.files import FileStore
from penstock_kit.settings import BlobSettings
from penstock_kit.tenancy import TenantScope

LINES, LINE_BYTES = int(sys.argv[2]), int(sys.argv[3])
PIECE = 64 * 1024
HEAD = (
    b'--cut\\r\\nContent-Disposition: form-data; name="file"; filename="lines.jsonl"\\r\\n\\r\\n'
)


def body():
    yield HEAD
    for number in range(LINES):
        message = {"role": "user", "content": "x" * LINE_BYTES}
        line = {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [message]},
        }
        yield json.dumps(line).encode() + b"\\n"
    yield b"\\r\\n--cut--\\r\\n"


def pieces():
    held = b""
    for part in body():
        held += part
        if len(held) >= PIECE:
            yield held
            held = b""
    yield held


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def main():
    source = pieces()

    async def receive():
        piece = next(source, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    store = FileStore(BlobSettings(url=Path(sys.argv[1]).as_uri()))
    scope = TenantScope("acme")
    limits = FormLimits(max_file_bytes=200_000_000, stall_s=30)
    reader = FormReader(receive, form_boundary("multipart/form-data; boundary=cut"), limits)
    models = KnownModels(chat={"m": "x"}, embedding={}, created=0)
    translators = EndpointTranslators({"/v1/chat/completions": understand_chat(models)})
    principal = Principal(tenant="acme", user="ann", level=Scope.USER, credential="k")
    checker = LineChecker(translators, endpoint="/v1/chat/completions", principal=principal)

    before = peak_mb()
    assert await reader.next_part() is not None
    ref = await store.put(scope, "file-" + "0" * 42, upload="0" * 32, chunks=reader.file())
    stored = peak_mb()
    lines = numbered_lines(store.stream(scope, ref), max_bytes=1 << 24)
    report = await look_through(lines, checker, max_lines=LINES)
    print(
        json.dumps(
            {
                "total": report.total,
                "problems": len(report.problems),
                "bytes": ref.size_bytes,
                "upload_mb": stored - before,
                "growth_mb": peak_mb() - before,
            }
        )
    )


asyncio.run(main())
"""


@pytest.mark.timeout(240)
def test_file_of_50000_lines_when_taken_and_looked_through_then_memory_stays_bounded(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(LINES), str(LINE_BYTES)],
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["total"], found["problems"]) == (LINES, 0)
    assert found["bytes"] > LINES * LINE_BYTES
    assert found["growth_mb"] < MOST_GROWTH_MB, found
