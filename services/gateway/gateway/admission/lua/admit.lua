-- May this job come in? Quotas, the tenant's backlog and the Idempotency-Key in one step: admission/store.py.
-- KEYS  counts of the tenant, admitted jobs, prefix of job hashes, idempotency key (or the counts key), a window per quota
-- ARGV  job, fingerprint ('' = no key), ttl_s of the key, backlog limit, is open, is low open, noisy from (-1 = never),
--       settle_ms, sweep (entries looked at), exact up to, slots, then limit and window_ms per quota
-- Reply verdict, backlog, is demoted, blocked quota (0 = none), now_ms, then remaining and reset_ms per quota
local counts, admitted, job_prefix, idem = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local job, fingerprint, ttl_s, backlog_limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local is_open, is_low_open, noisy_from = ARGV[5] == '1', ARGV[6] == '1', tonumber(ARGV[7])
local settle_ms, sweep = tonumber(ARGV[8]), tonumber(ARGV[9])
local exact, slots = tonumber(ARGV[10]), tonumber(ARGV[11])
local quotas = (#ARGV - 11) / 2
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local verdict
local known = fingerprint ~= '' and redis.call('GET', idem)
if known then
  if string.sub(known, 3) ~= fingerprint then verdict = 'reused'
  elseif string.sub(known, 1, 1) == 'a' then verdict = 'replayed'
  else verdict = 'pending' end
end

-- The table's counts, and what was admitted but is not in the table yet.
local backlog = 0
for _, count in ipairs(redis.call('HMGET', counts, 'queued', 'running', 'retrying')) do
  backlog = backlog + math.max(0, tonumber(count or 0) or 0)
end
-- From the oldest on, while there is something to sweep out: a burst is counted twice by no later request.
local looked, kept = 0, 0
repeat
  local oldest, over = redis.call('ZRANGE', admitted, kept, kept + 15, 'WITHSCORES'), {}
  for at = 1, #oldest, 2 do
    if now - tonumber(oldest[at + 1]) > settle_ms or redis.call('EXISTS', job_prefix .. oldest[at]) == 1 then
      over[#over + 1] = oldest[at]
    end
  end
  if #over > 0 then redis.call('ZREM', admitted, unpack(over)) end
  looked, kept = looked + #oldest / 2, kept + #oldest / 2 - #over
until #over == 0 or looked >= sweep
backlog = backlog + redis.call('ZCARD', admitted)

-- What of the window is used, and after how many ms one more place is free.
local function exact_window(key, limit, window)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  local used = redis.call('ZCARD', key)
  local leaving = redis.call('ZRANGE', key, math.max(0, used - limit), math.max(0, used - limit), 'WITHSCORES')
  return used, leaving[2] and tonumber(leaving[2]) + window - now or 0
end
local function slot_window(key, limit, window)
  local width, used, kept = math.ceil(window / slots), 0, {}
  local found = redis.call('HGETALL', key)
  for at = 1, #found, 2 do
    local leaves, count = (tonumber(found[at]) + 1) * width + window, tonumber(found[at + 1])
    if leaves <= now or count <= 0 then redis.call('HDEL', key, found[at])
    else used = used + count; kept[#kept + 1] = { leaves, count } end
  end
  table.sort(kept, function(a, b) return a[1] < b[1] end)
  local left = used
  for _, slot in ipairs(kept) do
    left = left - slot[2]
    if left < limit then return used, slot[1] - now end
  end
  return used, 0
end

local used, resets, blocked = {}, {}, 0
for quota = 1, quotas do
  local limit, window = tonumber(ARGV[10 + 2 * quota]), tonumber(ARGV[11 + 2 * quota])
  local look = limit <= exact and exact_window or slot_window
  used[quota], resets[quota] = look(KEYS[4 + quota], limit, window)
  if used[quota] >= limit and (blocked == 0 or resets[quota] > resets[blocked]) then blocked = quota end
end

local demoted = noisy_from >= 0 and backlog >= noisy_from
if not verdict then
  if blocked > 0 then verdict = 'limited'
  elseif backlog >= backlog_limit then verdict = 'backlog'
  elseif demoted and not is_low_open or not demoted and not is_open then verdict = 'closed'
  else verdict = 'admitted' end
end
if verdict == 'admitted' then
  redis.call('ZADD', admitted, now, job)
  redis.call('PEXPIRE', admitted, 2 * settle_ms)
  if fingerprint ~= '' then redis.call('SET', idem, 'p:' .. fingerprint, 'EX', ttl_s) end
  for quota = 1, quotas do
    local key, limit, window = KEYS[4 + quota], tonumber(ARGV[10 + 2 * quota]), tonumber(ARGV[11 + 2 * quota])
    if limit <= exact then
      redis.call('ZADD', key, now, job)
      redis.call('PEXPIRE', key, window)
      if used[quota] == 0 then resets[quota] = window end
    else
      local width = math.ceil(window / slots)
      redis.call('HINCRBY', key, math.floor(now / width), 1)
      redis.call('PEXPIRE', key, window + width)
      if used[quota] == 0 then resets[quota] = window + width end
    end
    used[quota] = used[quota] + 1
  end
end

local reply = { verdict, backlog, demoted and 1 or 0, blocked, tostring(now) }
for quota = 1, quotas do
  reply[#reply + 1] = math.max(0, tonumber(ARGV[10 + 2 * quota]) - used[quota])
  reply[#reply + 1] = math.ceil(resets[quota])
end
return reply
