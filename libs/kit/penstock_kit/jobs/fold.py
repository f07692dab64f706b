"""Folds patches into Redis: what the recorder does all day, and a rebuild for all jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from penstock_contracts.events import Position

from penstock_kit.jobs.facets import Facets
from penstock_kit.jobs.patches import JobPatch, join_patches
from penstock_kit.jobs.replay import decode_prefix, encode_prefix, merge_events
from penstock_kit.jobs.stored import TENANTS_KEY, facets_of, starts_text
from penstock_kit.jobs.view import StoredEvent
from penstock_kit.redis_client import RedisClient, load_script, redis_errors
from penstock_kit.tenancy import TenantScope

__all__ = ["Changed", "FoldPolicy", "JobFold"]


@dataclass(frozen=True, slots=True)
class FoldPolicy:
    """How much is kept of a job, and how long."""

    ttl: timedelta = timedelta(days=30)
    replay_ttl: timedelta = timedelta(hours=6)
    replay_events: int = 512
    replay_bytes: int = 1024 * 1024
    request_bytes: int = 1024 * 1024
    """A kept request beyond is left out; the gateway never makes one as large."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A job whose newest version is not in the state topic yet."""

    tenant: str
    job: str
    version: int
    facets: Facets


class JobFold:
    """Writes the job table. Folding is idempotent and takes records in any interleaving."""

    def __init__(self, redis: RedisClient, policy: FoldPolicy) -> None:
        self._redis = redis
        self._policy = policy
        self._fold = load_script(redis, "fold")
        self._published = load_script(redis, "published")
        self._shorten = load_script(redis, "shorten")

    async def fold(self, patches: Sequence[JobPatch], *, repair: bool = False) -> list[Changed]:
        """Fold in one round trip; what must now be written to the state topic comes back.

        It comes back again with every later patch of the job until `published` says that it is
        written, so that a process that dies in between loses nothing.

        Args:
            patches: in the order of their logs.
            repair: write index entries again, even of jobs that are known.

        Raises:
            TableAway: some may be folded, some not; fold all of them again.
        """
        joined = join_patches(patches)
        if not joined:
            return []
        with redis_errors("folding jobs"):
            await self._redis.sadd(TENANTS_KEY, *{patch.tenant for patch in joined})
            replies = await self._fold.run_many(
                [(_keys(patch), self._arguments(patch, repair=repair)) for patch in joined]
            )
            changed = []
            for patch, reply in zip(joined, replies, strict=True):
                if reply[0]:
                    await self._merge_oldest(TenantScope(patch.tenant), patch.job)
                if len(reply) > 1:
                    facets = facets_of(reply[2])
                    changed.append(Changed(patch.tenant, patch.job, int(reply[1]), facets))
        return changed

    async def published(self, written: Sequence[tuple[Changed, int]]) -> list[Changed]:
        """Say at which offsets the state topic has them; what has to be written again comes back.

        Raises:
            TableAway: say it again.
        """
        if not written:
            return []
        with redis_errors("noting published states"):
            replies = await self._published.run_many(
                [
                    ([TenantScope(change.tenant).job_key(change.job)], [change.version, offset])
                    for change, offset in written
                ]
            )
        return [
            Changed(change.tenant, change.job, int(reply[0]), facets_of(reply[1]))
            for (change, _), reply in zip(written, replies, strict=True)
            if reply
        ]

    def _arguments(self, patch: JobPatch, *, repair: bool) -> list[str | bytes | int | float]:
        """What `fold.lua` expects; an absent facet is a row of empty strings."""
        facets, policy = patch.facets, self._policy
        meta, progress = facets.meta, facets.progress
        arguments: list[str | bytes | int | float] = [
            patch.job,
            int((policy.ttl + _SLACK).total_seconds()),
            int(policy.replay_ttl.total_seconds()),
            policy.replay_events,
            policy.replay_bytes,
        ]
        arguments += (
            (meta.rank, meta.created_ms, meta.tie, meta.user or "", meta.body) if meta else _NONE
        )
        arguments.append(int(repair))
        arguments += (
            (
                *progress.position,
                progress.tie,
                progress.status.value,
                progress.body,
                progress.until_ms,
            )
            if progress
            else (*_NONE, "")
        )
        arguments += (starts_text(facets.starts), len(facets.endings))
        for ending in facets.endings:
            place = (ending.partition, ending.offset, *ending.position)
            arguments += (*place, ending.status.value, ending.body, ending.event)
        arguments += (
            "" if facets.started_ms is None else facets.started_ms,
            facets.crashes,
            *facets.top,
            int(facets.has_output),
            "" if patch.state_offset is None else patch.state_offset,
            "" if facets.deleted_ms is None else facets.deleted_ms,
            patch.request if len(patch.request) <= policy.request_bytes else b"",
        )
        for event in patch.events:
            arguments += (*event.position, event.type, event.value)
        return arguments

    async def _merge_oldest(self, scope: TenantScope, job: str) -> None:
        """Merge the older half of the kept events into the prefix, unless somebody else did."""
        key = scope.events_key(job)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(f"{key}:prefix")
            pipe.xrange(key)
            prefix, entries = await pipe.execute()
        half = entries[: (len(entries) + 1) // 2]
        if not half:
            return
        older = [
            StoredEvent(Position.parse(place.decode()), entry[b"t"].decode(), entry[b"v"])
            for place, entry in half
        ]
        merged = merge_events([*decode_prefix(prefix), *older], cap_bytes=self._policy.replay_bytes)
        kept_from = entries[len(half)][0] if len(half) < len(entries) else b""
        freed = sum(len(event.value) for event in older)
        ttl_s = int(self._policy.replay_ttl.total_seconds())
        await self._shorten.run(
            [scope.job_key(job), key, f"{key}:prefix"],
            [cast("bytes", half[0][0]), kept_from, encode_prefix(merged), freed, ttl_s],
        )


_NONE = ("", "", "", "", "")
_SLACK = timedelta(days=1)
"""A job outlives its TTL by this much, so that the sweeper finds its status to count it down."""


def _keys(patch: JobPatch) -> list[str]:
    scope = TenantScope(patch.tenant)
    return [
        scope.job_key(patch.job),
        scope.events_key(patch.job),
        scope.index_key(),
        scope.counts_key(),
        scope.request_key(patch.job),
    ]
