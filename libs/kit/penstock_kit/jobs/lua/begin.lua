-- Give a delivery the next attempt of its job, or say why not.
-- KEYS  job hash, ledger hash, lease, epoch of the table
-- ARGV  owner, place of the record, lease ms, ledger ttl s, attempts made before as the record says, attempts that this very
--       delivery counted, 1 if the job may be charged at most once, 1 if somebody else may have begun the record,
--       what is proven: 0 nothing, 1 the log up to now is folded, 2 also that who has let its lease run out is
--       dead, 3 also that who was never seen to hold one is; the epoch for which it is proven, 1 to begin even before the
--       next attempt is due, line of the record, number of the ask of a job that may be charged at most once (the same until
--       it is told, and while nothing that it began was called) or '', 1 if asking for the job again gives the same id
-- Reply over status condemned | moved | busy ms | early ms | doubt level until | lost attempt | begin attempt had_output crashes
local LONGEST_PAUSE_MS = 3600000
local owner, place, lease_ms, ttl_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local made, counted, proven = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[9])
local at_most_once, is_suspect, line = ARGV[7] == '1', ARGV[8] == '1', ARGV[12]
local ask, may_come_again = ARGV[13], ARGV[14] == '1'

local job = redis.call('HMGET', KEYS[1], 'e_status', 'attempt', 'p_status', 'p_attempt', 'output', 'p_until', 'crashes')
local ledger = redis.call('HMGET', KEYS[2], 'n', 'open', 'over', 'fence', 'place', 'due', 'crashes', 'dead', 'line', 'ask')
-- The lanes move a record with what it knew, whoever had begun it before: the copy carries the job as well.
local is_same = ledger[5] == place or (ledger[9] or ledger[5]) == line
local over = job[1] or ledger[3]
if over then return { 'over', over, is_same and ledger[8] or '' } end

local begun, seen = tonumber(ledger[1] or 0), tonumber(job[2] or 0)
if ledger[5] and not is_same and made < begun then return { 'moved' } end

local holder = redis.call('GET', KEYS[3])
if holder and holder ~= owner then return { 'busy', redis.call('PTTL', KEYS[3]) } end

local p_status, p_attempt, p_until = job[3], tonumber(job[4] or 0), tonumber(job[6] or 0)
-- The log says of the newest attempt that it failed and another one follows: whatever the ledger missed, it is over.
local is_told = p_status == 'retrying' and p_attempt >= begun and p_attempt == seen
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local due = tonumber(ledger[6] or 0)
if is_told and not ledger[6] and made < p_attempt then
  -- When the pause began, only the wall clock of the worker that failed could tell, and it may be hours wrong: it begins now.
  due = now + math.min(p_until, LONGEST_PAUSE_MS)
  redis.call('HSET', KEYS[2], 'due', due)
  redis.call('EXPIRE', KEYS[2], ttl_s)
end
-- Who brings the newest attempt's own words (a retry record, a wait in place) has waited already, by the broker's clock.
local has_waited = made > 0 and made >= math.max(begun, seen)
if due > now and not has_waited and ARGV[11] ~= '1' then return { 'early', due - now } end

local is_mine = ledger[4] == owner
local is_cut = ledger[2] == '1' and not is_mine and not is_told
-- Started in the log after all that the ledger knows: begun while Redis was away, or before Redis lost the ledger.
local is_unknown = seen > math.max(begun, counted) and p_status == 'running' and p_attempt == seen
local needed = 0
if is_suspect or at_most_once or seen > math.max(begun, counted) then needed = 1 end
if is_cut then needed = 2 end
if is_unknown then needed = 3 end
-- Redis may have been emptied, or restarted without what was written last: a proof was about another table, and a job that
-- was asked for again may have ended before.
if proven > 0 or may_come_again then
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local epoch = redis.call('GET', KEYS[4])
  local is_whole = epoch and string.match(epoch, '^%S*') == run_id
  if epoch ~= ARGV[10] or not is_whole then proven = 0 end
  if may_come_again and not is_whole then needed = math.max(needed, 1) end
end
if proven < needed then return { 'doubt', needed, p_status == 'running' and p_attempt >= begun and p_until or 0 } end

-- What the newest start in the log knew of survives a loss of the ledger.
local crashes = math.max(tonumber(ledger[7] or 0), tonumber(job[7] or 0))
if is_cut or is_unknown then crashes = crashes + 1 end
local attempt = math.max(begun, seen, made, counted) + 1
local had_output = (job[5] == '1' or math.max(begun, counted) > seen) and 1 or 0
redis.call('HSET', KEYS[2], 'n', attempt, 'open', '1', 'fence', owner, 'place', place, 'line', line,
  'crashes', crashes)
redis.call('HDEL', KEYS[2], 'due')
redis.call('EXPIRE', KEYS[2], ttl_s)
redis.call('SET', KEYS[3], owner, 'PX', lease_ms)
if at_most_once then
  local is_unused = is_mine and ledger[10] == ask
  local is_lost = is_unknown or (ledger[2] and not is_told and not is_unused)
  -- Who is told that the job is lost, and does not hear it, must be told so again.
  redis.call('HSET', KEYS[2], 'ask', is_lost and '' or ask)
  if is_lost then return { 'lost', attempt } end
end
return { 'begin', attempt, had_output, crashes }
