-- Give back what `admit.lua` took for a job that was not written after all.
-- KEYS  admitted jobs, idempotency key (or the admitted key), a window per quota
-- ARGV  job, fingerprint ('' = no key), when it was admitted (ms), exact up to, slots, then limit and window_ms per quota
local job, fingerprint, at_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local exact, slots = tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('ZREM', KEYS[1], job)
if fingerprint ~= '' and redis.call('GET', KEYS[2]) == 'p:' .. fingerprint then redis.call('DEL', KEYS[2]) end
for quota = 1, (#ARGV - 5) / 2 do
  local key, limit, window = KEYS[2 + quota], tonumber(ARGV[4 + 2 * quota]), tonumber(ARGV[5 + 2 * quota])
  if limit <= exact then
    redis.call('ZREM', key, job)
  elseif redis.call('EXISTS', key) == 1 then
    redis.call('HINCRBY', key, math.floor(at_ms / math.ceil(window / slots)), -1)
  end
end
return 1
