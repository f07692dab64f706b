"""The job table in Redis, for readers."""

from __future__ import annotations

from typing import cast

from penstock_contracts.events import JobStatus, Position
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest

from penstock_kit.jobs.cursor import Cursor
from penstock_kit.jobs.facets import Facets, state_of, status_of
from penstock_kit.jobs.listing import Fetch, is_visible, list_page
from penstock_kit.jobs.replay import decode_prefix, end_of, select_events
from penstock_kit.jobs.stored import EPOCH_KEY, FACET_FIELDS, facets_of
from penstock_kit.jobs.view import JobPage, StoredEvent, TableAway
from penstock_kit.redis_client import RedisClient, redis_errors
from penstock_kit.tenancy import TenantScope

__all__ = ["RedisJobTable"]

_LISTED_FIELDS = tuple(name if name != "end" else "" for name in FACET_FIELDS)
"""As `FACET_FIELDS`, without the terminal event and its output (no field has an empty name)."""


class RedisJobTable:
    """Implements `JobTable`. Any number of readers; the recorder writes."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def get(self, scope: TenantScope, job_id: str) -> JobState | None:
        """See `JobTable.get`; one round trip, for unknown jobs two.

        While the table is incomplete, what is not there may only not be there yet: that is
        `TableAway`.
        """
        with redis_errors("reading a job"):
            fields = await self._redis.hmget(scope.job_key(job_id), FACET_FIELDS)
            facets = facets_of(cast("list[bytes | None]", fields))
            if status_of(facets) is None and not await self._redis.exists(EPOCH_KEY):
                raise TableAway("the job table is being rebuilt; try again in a moment")
        if not is_visible(scope, facets):
            return None
        return state_of(scope.tenant, job_id, facets, with_output=True)

    async def page(
        self,
        scope: TenantScope,
        *,
        status: JobStatus | None = None,
        task: str | None = None,
        user: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> JobPage:
        """See `JobTable.page`; without outputs. With a rare filter a page may be short."""

        def index_of(owner: str | None) -> Fetch:
            index = scope.index_key(user=owner)

            async def fetch(place: Cursor | None, count: int) -> list[tuple[Cursor, Facets]]:
                places = await self._places(index, place, count)
                return list(zip(places, await self._facets(scope, places), strict=True))

            return fetch

        return await list_page(
            scope, index_of, status=status, task=task, user=user, after=after, limit=limit
        )

    async def events(
        self, scope: TenantScope, job_id: str, *, after: Position | None = None
    ) -> list[StoredEvent]:
        """See `JobTable.events`; one round trip. The terminal event is kept as long as the job."""
        key = scope.events_key(job_id)
        start = "-" if after is None else f"({after}"
        with redis_errors("reading a job's events"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(scope.job_key(job_id), FACET_FIELDS)
                pipe.get(f"{key}:prefix")
                pipe.xrange(key, min=start)
                fields, prefix, entries = await pipe.execute()
        facets = facets_of(fields)
        if not is_visible(scope, facets) or facets.deleted_ms is not None:
            return []
        recent = [
            StoredEvent(Position.parse(place.decode()), entry[b"t"].decode(), entry[b"v"])
            for place, entry in entries
        ]
        return select_events(
            [*decode_prefix(prefix), *recent], after=after, end=end_of(facets.ending)
        )

    async def request(self, scope: TenantScope, job_id: str) -> KeptRequest | None:
        """See `JobTable.request`; one round trip, for unknown requests two.

        While the table is incomplete, what is not there may only not be there yet: that is
        `TableAway`.
        """
        with redis_errors("reading a job's request"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hmget(scope.job_key(job_id), _LISTED_FIELDS)
                pipe.get(scope.request_key(job_id))
                fields, raw = await pipe.execute()
            if raw is None and not await self._redis.exists(EPOCH_KEY):
                raise TableAway("the job table is being rebuilt; try again in a moment")
        facets = facets_of(fields)
        if raw is None or not is_visible(scope, facets) or facets.deleted_ms is not None:
            return None
        return KeptRequest.model_validate_json(raw)

    async def _places(self, index: str, after: Cursor | None, count: int) -> list[Cursor]:
        """The next places of an index, newest first; within a millisecond by id, backwards."""
        top = "+inf" if after is None else after.created_ms
        found: list[Cursor] = []
        offset = 0
        while len(found) < count:
            with redis_errors("listing jobs"):
                reply = await self._redis.zrevrangebyscore(
                    index, top, "-inf", start=offset, num=count, withscores=True
                )
            entries = cast("list[tuple[bytes, float]]", reply)
            places = [Cursor(int(score), job.decode()) for job, score in entries]
            found += [place for place in places if after is None or place < after]
            if len(places) < count:
                break
            offset += count
        return found[:count]

    async def _facets(self, scope: TenantScope, places: list[Cursor]) -> list[Facets]:
        if not places:
            return []
        with redis_errors("listing jobs"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for place in places:
                    pipe.hmget(scope.job_key(place.job), _LISTED_FIELDS)
                return [facets_of(fields) for fields in await pipe.execute()]
