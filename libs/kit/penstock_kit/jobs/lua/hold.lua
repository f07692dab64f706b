-- Keep a lease: prolong it, or set it again where Redis lost it. With a higher attempt: a further attempt of the owner.
-- KEYS  ledger hash, lease
-- ARGV  owner, lease ms, ledger ttl s, attempt
-- Reply 1, or 0 if somebody else holds it
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local begun = tonumber(redis.call('HGET', KEYS[1], 'n') or 0)
redis.call('HSET', KEYS[1], 'n', math.max(begun, tonumber(ARGV[4])), 'open', '1')
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
