"""A job table that says that it is whole: for workers that are tested without a recorder."""

from __future__ import annotations

from penstock_kit.jobs.coverage import FoldMarks
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.redis_client import RedisClient

__all__ = ["declare_whole"]

_ALL_THAT_COMES = 10**15
_PARTITIONS = 64


async def declare_whole(redis: RedisClient, *, age_ms: int = 60_000) -> None:
    """What a recorder that never lags would have written `age_ms` ago.

    Without it a job that may have begun before waits for its recorder.
    """
    run_id = (await redis.info("server"))["run_id"]
    seconds, _ = await redis.time()
    await redis.set(EPOCH_KEY, f"{run_id} {seconds * 1000 - age_ms}")
    await FoldMarks(redis).note(dict.fromkeys(range(_PARTITIONS), _ALL_THAT_COMES))
