-- An attempt is over: remember how, and let the lease go.
-- KEYS  ledger hash, lease
-- ARGV  owner, ledger ttl s, attempt, terminal status or ''
-- Reply 1, or 0 if somebody else holds the lease
local begun = tonumber(redis.call('HGET', KEYS[1], 'n') or 0)
redis.call('HSET', KEYS[1], 'n', math.max(begun, tonumber(ARGV[3])))
if ARGV[4] ~= '' then redis.call('HSETNX', KEYS[1], 'over', ARGV[4]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'open')
redis.call('DEL', KEYS[2])
return 1
