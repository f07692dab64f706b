"""An HTTP client that insists: it sends again, with the same key, until it knows."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from random import Random

import aiohttp

from tests.promises.journal import Journal
from tests.promises.load.plan import PlannedJob

__all__ = ["Sender"]

_ATTEMPT_S = 20.0
"""Longest wait for one answer: above the gateway's own wait for the broker."""
_INSIST_S = 120.0
_PAUSE_S = (0.2, 1.0)
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Sender:
    """Submits, reads and cancels jobs. Every single send is a line of the transcript."""

    gateway: str
    keys: dict[str, str]
    session: aiohttp.ClientSession
    transcript: Journal
    random: Random

    async def submit(self, job: PlannedJob) -> str | None:
        """The job's id once one of the sends was answered 202; None: refused, or nobody knows."""
        sends = [self._insist(job) for _ in range(job.sends)]
        found = {job_id for job_id in await asyncio.gather(*sends) if job_id is not None}
        return min(found) if found else None

    async def send(
        self, job: PlannedJob, *, changed: bool = False
    ) -> tuple[int, str | None, float]:
        """One request: status (0: no answer), job id, and how long to wait before another.

        `changed`: the same key with another body.
        """
        body = job.body()
        if changed:
            body["metadata"] = {"changed": "yes"}
        raw = json.dumps(body).encode()
        began = time.time()
        status, job_id, pause_s, code, retry_after = await self._post(job, raw)
        self.transcript.write(
            number=job.number,
            key=job.key,
            sha=hashlib.sha256(raw).hexdigest()[:16],
            status=status,
            code=code,
            retry_after=retry_after,
            job=job_id,
            began=began,
            changed=changed,
        )
        return status, job_id, pause_s

    async def read(self, job_id: str, tenant: str = "dev") -> tuple[int, dict[str, object]]:
        """`GET /v1/jobs/{id}`; status 0 if there was no answer."""
        return await self._call("GET", f"/v1/jobs/{job_id}", tenant)

    async def cancel(self, job_id: str, tenant: str = "dev") -> int:
        """Ask for the job's end."""
        status, _ = await self._call("POST", f"/v1/jobs/{job_id}/cancel", tenant)
        return status

    async def _insist(self, job: PlannedJob) -> str | None:
        until = time.monotonic() + _INSIST_S
        while time.monotonic() < until:
            status, job_id, pause_s = await self.send(job)
            if status == 202:
                return job_id
            if 400 <= status < 500 and status not in (409, 429):
                return None
            await asyncio.sleep(pause_s)
        return None

    async def _post(
        self, job: PlannedJob, raw: bytes
    ) -> tuple[int, str | None, float, str | None, str | None]:
        """Status, job id, pause before the next send, error code, `Retry-After` as it came."""
        pause_s = self.random.uniform(*_PAUSE_S)
        headers = {**self._headers(job.tenant), "Idempotency-Key": job.key}
        try:
            async with self.session.post(
                f"{self.gateway}/v1/jobs",
                data=raw,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=_ATTEMPT_S),
            ) as answer:
                content = json.loads(await answer.read())
                after = answer.headers.get("Retry-After")
                if after is not None:
                    pause_s = min(float(after), _LONGEST_PAUSE_S)
                code = (content.get("error") or {}).get("code")
                return answer.status, content.get("id"), pause_s, code, after
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return 0, None, pause_s, type(error).__name__, None

    async def _call(self, method: str, path: str, tenant: str) -> tuple[int, dict[str, object]]:
        try:
            async with self.session.request(
                method,
                self.gateway + path,
                headers=self._headers(tenant),
                timeout=aiohttp.ClientTimeout(total=_ATTEMPT_S),
            ) as answer:
                return answer.status, json.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0, {}

    def _headers(self, tenant: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.keys[tenant]}",
            "Content-Type": "application/json",
        }
