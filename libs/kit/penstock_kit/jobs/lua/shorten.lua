-- Replace the oldest kept events by a prefix that was merged from them, if nobody else did meanwhile.
-- KEYS  job hash, events stream, prefix
-- ARGV  id of the oldest event as it was read, id of the first event to keep ('' = none), new prefix, bytes freed,
--       ttl s of the prefix
-- Reply 1 if done
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
if not oldest[1] or oldest[1][1] ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[3], ARGV[3], 'EX', ARGV[5])
if ARGV[2] == '' then redis.call('DEL', KEYS[2]) else redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2]) end
redis.call('HINCRBY', KEYS[1], 'bytes', -tonumber(ARGV[4]))
return 1
