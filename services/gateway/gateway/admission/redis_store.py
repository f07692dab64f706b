"""Admissions in Redis, shared by all gateways: one script, one round trip per submit.

Keys settle behind the answer: the notes of all jobs that were accepted meanwhile go out in one
pipeline.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from importlib import resources

import structlog
from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_client import RedisClient, Script, redis_errors
from penstock_kit.redis_line import ScriptLine

from gateway.admission.rules import Quota
from gateway.admission.store import (
    EXACT_UP_TO,
    SETTLE,
    SLOTS,
    SWEEP,
    Ask,
    Reply,
    Verdict,
    WindowState,
)

__all__ = ["RedisAdmissions"]

log = structlog.get_logger(__name__)

_SETTLE_MS = SETTLE // timedelta(milliseconds=1)
_MAX_NOTES = 10_000
"""Notes waiting at most; beyond, new ones are dropped: each costs one repeated record."""
_STOP_S = 2.0


class RedisAdmissions:
    """`AdmissionStore` on Redis, and a Part: `stop` writes the last notes."""

    def __init__(self, redis: RedisClient, *, key_ttl: timedelta) -> None:
        self._redis = redis
        self._ttl_s = max(1, int(key_ttl.total_seconds()))
        self._admit = ScriptLine(redis, _source("admit"))
        self._refund = Script(redis, _source("refund"))
        self._notes: dict[str, str] = {}
        self._writing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Nothing to start: a gateway starts without Redis."""

    async def stop(self) -> None:
        """Wait for the notes that are under way; works twice."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=_STOP_S)
        await self._admit.stop()

    async def admit(self, ask: Ask) -> Reply:
        """See the port."""
        with redis_errors("admitting a job"):
            answer = await self._admit.call(self._admit_keys(ask), self._admit_arguments(ask))
        figures = answer[5:]
        return Reply(
            Verdict(answer[0].decode()),
            tuple(
                WindowState(remaining, reset_ms / 1000)
                for remaining, reset_ms in zip(figures[::2], figures[1::2], strict=True)
            ),
            blocked=answer[3] - 1,
            backlog=answer[1],
            is_demoted=answer[2] == 1,
            at_ms=int(answer[4]),
        )

    def settle(self, ask: Ask, reply: Reply) -> None:
        """See the port."""
        del reply
        if ask.claim is None or len(self._notes) >= _MAX_NOTES:
            return
        name = ask.scope.idempotency_key(ask.claim.route, ask.claim.key)
        self._notes[name] = f"a:{ask.claim.fingerprint}"
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_notes(), name="settle keys")

    async def refund(self, ask: Ask, reply: Reply) -> None:
        """See the port."""
        admitted = ask.scope.admitted_key()
        name, fingerprint = admitted, ""
        if ask.claim is not None:
            name = ask.scope.idempotency_key(ask.claim.route, ask.claim.key)
            fingerprint = ask.claim.fingerprint
        keys = [admitted, name, *(_window_key(ask, quota) for quota in ask.quotas)]
        arguments: list[str | bytes | int | float] = [
            ask.job, fingerprint, reply.at_ms, EXACT_UP_TO, SLOTS, *_figures(ask)
        ]  # fmt: skip
        try:
            with redis_errors("giving back a place"):
                await self._refund.run(keys, arguments)
        except TableAway as error:
            log.warning("admission.not_refunded", job=ask.job, reason=str(error))

    async def _write_notes(self) -> None:
        while self._notes:
            notes, self._notes = self._notes, {}
            try:
                with redis_errors("noting accepted jobs"):
                    async with self._redis.pipeline(transaction=False) as pipe:
                        for name, note in notes.items():
                            pipe.set(name, note, ex=self._ttl_s)
                        await pipe.execute()
            except TableAway as error:
                log.warning("admission.notes_lost", count=len(notes), reason=str(error))
                return

    def _admit_keys(self, ask: Ask) -> list[str]:
        scope = ask.scope
        counts = scope.counts_key()
        idem = (
            counts if ask.claim is None else scope.idempotency_key(ask.claim.route, ask.claim.key)
        )
        windows = [_window_key(ask, quota) for quota in ask.quotas]
        return [counts, scope.admitted_key(), scope.job_key(""), idem, *windows]

    def _admit_arguments(self, ask: Ask) -> list[str | bytes | int | float]:
        return [
            ask.job,
            "" if ask.claim is None else ask.claim.fingerprint,
            self._ttl_s,
            ask.backlog_limit,
            int(ask.is_open),
            int(ask.is_low_open),
            -1 if ask.noisy_from is None else ask.noisy_from,
            _SETTLE_MS,
            SWEEP,
            EXACT_UP_TO,
            SLOTS,
            *_figures(ask),
        ]


def _source(name: str) -> str:
    return resources.files("gateway.admission").joinpath(f"lua/{name}.lua").read_text("utf-8")


def _window_key(ask: Ask, quota: Quota) -> str:
    """Kind and length are in the key: a changed rule begins anew instead of misreading the old."""
    kind = "log" if quota.limit <= EXACT_UP_TO else "slots"
    rule = f"{quota.name}:{kind}:{quota.window // timedelta(milliseconds=1)}"
    return ask.scope.limit_key(rule, quota.owner)


def _figures(ask: Ask) -> list[int]:
    return [
        figure
        for quota in ask.quotas
        for figure in (quota.limit, quota.window // timedelta(milliseconds=1))
    ]
