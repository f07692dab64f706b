"""A job that waits for a worker, and what else a row needs of the gateway itself."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

from bench.stack import Stack

__all__ = ["submitted_job"]

_PATIENCE_S = 20


def submitted_job(stack: Stack) -> str:
    """The id of a fresh job, once the job table knows it."""
    body = json.dumps({"task": "chat", "input": "go"})
    job = str(_call(stack, "POST", "/v1/jobs", body)["id"])
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if _call(stack, "GET", f"/v1/jobs/{job}")["status"] == "queued":
                return job
        except urllib.error.HTTPError:
            pass
        time.sleep(0.1)
    return job


def _call(stack: Stack, method: str, path: str, body: str = "") -> dict[str, object]:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{stack.gateway}{path}",
        data=body.encode() or None,
        method=method,
        headers={
            "authorization": f"Bearer {stack.api_key}",
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - loopback
        found: dict[str, object] = json.load(response)
        return found
