-- An attempt is over: remember how, and let the lease go.
-- KEYS  ledger hash, lease
-- ARGV  owner, place of the record, ledger ttl s, attempt, terminal status or '', ms until the next attempt may begin or '',
--       line of the record
-- Reply 1, or 0 if somebody began a later attempt: then what became of this one changes nothing
local attempt = tonumber(ARGV[4])
local ledger = redis.call('HMGET', KEYS[1], 'n', 'fence')
local begun = tonumber(ledger[1] or 0)
if begun > attempt or (begun == attempt and ledger[2] ~= ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'n', attempt, 'fence', ARGV[1], 'place', ARGV[2], 'line', ARGV[7])
if ARGV[5] ~= '' then
  redis.call('HSETNX', KEYS[1], 'over', ARGV[5])
  redis.call('HDEL', KEYS[1], 'open', 'due')
elseif ARGV[6] ~= '' then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('HSET', KEYS[1], 'due', now + tonumber(ARGV[6]))
  redis.call('HDEL', KEYS[1], 'open')
else
  -- Let go without an outcome: not a crash, but a job that may be charged once must not be called again.
  redis.call('HSET', KEYS[1], 'open', 'left')
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
