-- Give a delivery the next attempt of its job, or say why not.
-- KEYS  job hash, ledger hash, lease
-- ARGV  owner, lease ms, ledger ttl s, attempts known from the record, 1 if the job may be charged at most once
-- Reply over status | busy ms | begin attempt had_output | lost attempt
local owner, lease_ms, ttl_s, floor = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local job = redis.call('HMGET', KEYS[1], 'e_status', 'attempt', 'p_status', 'p_attempt', 'output')
local ledger = redis.call('HMGET', KEYS[2], 'n', 'open', 'over')
local over = ledger[3] or job[1]
if over then return { 'over', over } end

local holder = redis.call('GET', KEYS[3])
if holder and holder ~= owner then return { 'busy', redis.call('PTTL', KEYS[3]) } end

local begun, seen = tonumber(ledger[1] or 0), tonumber(job[2] or 0)
local attempt = math.max(begun, seen, floor) + 1
-- An attempt that nobody finished: open in the ledger, or started in the log after all the ledger knows.
local is_open = ledger[2] == '1' or (seen > begun and job[3] == 'running' and tonumber(job[4] or 0) == seen)
local had_output = (job[5] == '1' or begun > seen) and 1 or 0
redis.call('HSET', KEYS[2], 'n', attempt, 'open', '1')
redis.call('EXPIRE', KEYS[2], ttl_s)
redis.call('SET', KEYS[3], owner, 'PX', lease_ms)
if is_open and ARGV[5] == '1' then return { 'lost', attempt } end
return { 'begin', attempt, had_output }
