"""Whether the table in Redis is whole, and who makes it so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.redis_client import RedisClient, Script, redis_errors

__all__ = ["TableEpoch", "TableNow"]

_LOCK_KEY = "ps:rebuilding"

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
_FINISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
redis.call('SET', KEYS[2], ARGV[2] .. ' ' .. time[1] .. string.format('%03d',
  math.floor(time[2] / 1000)))
redis.call('DEL', KEYS[1])
return 1
"""


@dataclass(frozen=True, slots=True)
class TableNow:
    """The table at one moment of Redis' clock.

    Attributes:
        epoch: names one completion of the table; None while something may be missing.
        age_ms: how long ago that was; 0 if it was not.
    """

    epoch: bytes | None
    age_ms: int
    now_ms: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing that was in the log when the table became whole."""
        return self.epoch is not None


class TableEpoch:
    """`ps:epoch` holds the run id of the Redis process that has had all of the table, since when.

    Another run id means a restart or a fail-over: what was written last may be gone although the
    key is there.
    """

    def __init__(self, redis: RedisClient, *, lock: timedelta = timedelta(seconds=15)) -> None:
        self._redis = redis
        self._lock_ms = int(lock.total_seconds() * 1000)
        self._renew = Script(redis, _RENEW)
        self._finish = Script(redis, _FINISH)

    async def is_whole(self) -> bool:
        """Whether nothing is missing; a table of another run of Redis is declared incomplete.

        Raises:
            TableAway: Redis does not answer.
        """
        if (await self.look()).is_whole:
            return True
        with redis_errors("declaring the table incomplete"):
            await self._redis.delete(EPOCH_KEY)
        return False

    async def look(self) -> TableNow:
        """Whether nothing is missing, and since when; changes nothing.

        Raises:
            TableAway: Redis does not answer.
        """
        with redis_errors("looking at the epoch"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.get(EPOCH_KEY)
                pipe.info("server")
                pipe.time()
                epoch, info, (seconds, microseconds) = await pipe.execute()
        now_ms = seconds * 1000 + microseconds // 1000
        run_id, _, since_ms = (epoch or b"").partition(b" ")
        if run_id != str(info["run_id"]).encode() or not since_ms.isdigit():
            return TableNow(None, age_ms=0, now_ms=now_ms)
        return TableNow(epoch, age_ms=max(now_ms - int(since_ms), 0), now_ms=now_ms)

    async def claim(self, owner: str) -> bool:
        """Become the one who rebuilds; False: somebody else is at it.

        Raises:
            TableAway: Redis does not answer.
        """
        with redis_errors("claiming the rebuild"):
            return bool(await self._redis.set(_LOCK_KEY, owner, nx=True, px=self._lock_ms))

    async def renew(self, owner: str) -> bool:
        """Stay the one; False: Redis was emptied again, or we were too slow.

        Raises:
            TableAway: Redis does not answer.
        """
        with redis_errors("holding the rebuild"):
            return bool(await self._renew.run([_LOCK_KEY], [owner, self._lock_ms]))

    async def finish(self, owner: str) -> bool:
        """Declare the table whole; False: it was emptied meanwhile, begin anew.

        Raises:
            TableAway: Redis does not answer.
        """
        with redis_errors("ending the rebuild"):
            run_id = await self._run_id()
            return bool(await self._finish.run([_LOCK_KEY, EPOCH_KEY], [owner, run_id]))

    async def release(self, owner: str) -> None:
        """Give up; the next may begin at once.

        Raises:
            TableAway: Redis does not answer.
        """
        with redis_errors("leaving the rebuild"):
            if await self._redis.get(_LOCK_KEY) == owner.encode():
                await self._redis.delete(_LOCK_KEY)

    async def _run_id(self) -> bytes:
        info = await self._redis.info("server")
        return str(info["run_id"]).encode()
