-- Forget a job whose time is over.
-- KEYS  job hash, events stream, prefix, index of the tenant, counts of the tenant, kept request
-- ARGV  job
-- Reply 1 if it was there
if redis.call('ZREM', KEYS[4], ARGV[1]) == 0 then return 0 end
local job = redis.call('HMGET', KEYS[1], 'status', 'user')
if job[1] then redis.call('HINCRBY', KEYS[5], job[1], -1) end
if job[2] and job[2] ~= '' then redis.call('ZREM', KEYS[4] .. ':user:' .. job[2], ARGV[1]) end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[6])
return 1
