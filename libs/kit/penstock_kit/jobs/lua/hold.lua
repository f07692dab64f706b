-- Keep a lease: prolong it, or set it again where Redis lost it. With a higher attempt: a further attempt of the owner.
-- KEYS  ledger hash, lease
-- ARGV  owner, place of the record, lease ms, ledger ttl s, attempt, crashes, line of the record
-- Reply 1, or 0 if the attempt is not the owner's any more: somebody began a later one, or it has been finished
local attempt = tonumber(ARGV[5])
local ledger = redis.call('HMGET', KEYS[1], 'n', 'open', 'over', 'fence')
local begun = tonumber(ledger[1] or 0)
if ledger[3] or begun > attempt then return 0 end
if begun == attempt and (ledger[4] ~= ARGV[1] or ledger[2] ~= '1') then return 0 end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
if begun < attempt then
  redis.call('HSET', KEYS[1], 'n', attempt, 'open', '1', 'fence', ARGV[1], 'place', ARGV[2], 'crashes', ARGV[6],
    'line', ARGV[7])
  redis.call('HDEL', KEYS[1], 'due')
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
