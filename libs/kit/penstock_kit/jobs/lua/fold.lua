-- Join what one or more records tell of a job with what is known of it: jobs/facets.py and jobs/fence.py, inside Redis.
-- KEYS  job hash, events stream, index of the tenant, counts of the tenant, kept request
-- ARGV  see `_arguments` in jobs/fold.py
-- Reply 1 if the replay stream is over its cap, then either nothing, or: version and the facets of a job whose newest version
--       is not in the state topic yet.
local job_key, events_key, index_key, counts_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local at = 0
local function take() at = at + 1; return ARGV[at] end
local function number() local text = take(); return text ~= '' and tonumber(text) or nil end
local job, ttl_s, replay_ttl_s = take(), number(), number()
local cap_events, cap_bytes = number(), number()

local old = redis.call('HMGET', job_key, 'm_rank', 'm_ms', 'm_tie', 'user', 'p_attempt', 'p_seq', 'p_tie',
  'starts', 'ends', 'started', 'attempt', 'seq', 'version', 'pub_v', 'pub_off', 'status', 'p_status', 'e_status',
  'e_part', 'e_off', 'e_attempt', 'e_seq', 'deleted', 'crashes')
local function known(field) return old[field] and tonumber(old[field]) end
local m_rank, m_ms, m_tie, user = known(1), known(2), known(3), old[4]
local p_attempt, p_seq, p_tie = known(5), known(6), known(7)
local old_starts, old_ends, started = old[8] or '', old[9], known(10)
local top_attempt, top_seq = known(11) or 0, known(12) or 0
local version, pub_v, pub_off = known(13) or 0, known(14) or 0, known(15) or -1
local status, p_status, e_status = old[16], old[17], old[18]
local e_part, e_off, e_attempt, e_seq, deleted = known(19), known(20), known(21), known(22), known(23)
local crashes = known(24) or 0

-- Whether the triple a comes before b; the first member that differs decides.
local function before(a1, a2, a3, b1, b2, b3)
  if a1 ~= b1 then return a1 < b1 end
  if a2 ~= b2 then return a2 < b2 end
  return a3 < b3
end
local set, unset, changed, same = {}, {}, false, true
local function put(name, value) set[#set + 1] = name; set[#set + 1] = value end
local function drop(name) unset[#unset + 1] = name end

local n_rank, n_ms, n_tie, n_user, n_meta = number(), number(), number(), take(), take()
local is_repair = take() == '1'
if n_rank then
  if not m_rank or before(m_rank, -m_ms, -m_tie, n_rank, -n_ms, -n_tie) then
    if user and user ~= '' and user ~= n_user then redis.call('ZREM', index_key .. ':user:' .. user, job) end
    put('m_rank', n_rank); put('m_ms', n_ms); put('m_tie', n_tie); put('user', n_user); put('meta', n_meta)
    redis.call('ZADD', index_key, n_ms, job)
    if n_user ~= '' then redis.call('ZADD', index_key .. ':user:' .. n_user, n_ms, job) end
    m_rank, m_ms, m_tie, changed = n_rank, n_ms, n_tie, true
  elseif is_repair then
    redis.call('ZADD', index_key, m_ms, job)
    local owner = user or ''
    if owner ~= '' then redis.call('ZADD', index_key .. ':user:' .. owner, m_ms, job) end
  end
  same = same and m_rank == n_rank and m_ms == n_ms and m_tie == n_tie
else
  same = same and not m_rank
end

local n_attempt, n_seq, n_tie, n_status, n_body, n_until = number(), number(), number(), take(), take(), take()
if n_attempt then
  if not p_attempt or before(p_attempt, p_seq, -p_tie, n_attempt, n_seq, -n_tie) then
    put('p_attempt', n_attempt); put('p_seq', n_seq); put('p_tie', n_tie); put('p_status', n_status)
    put('progress', n_body); put('p_until', n_until)
    p_attempt, p_seq, p_tie, p_status, changed = n_attempt, n_seq, n_tie, n_status, true
  end
  same = same and p_attempt == n_attempt and p_seq == n_seq and p_tie == n_tie
else
  same = same and not p_attempt
end

-- Starts: in the order of the log, without those behind one of the same or a later attempt.
local n_starts = take()
local starts, starts_text = {}, old_starts
local function read_starts(text)
  for part, off, attempt in string.gmatch(text, '(%d+):(%d+):(%d+)') do
    starts[#starts + 1] = { tonumber(part), tonumber(off), tonumber(attempt), part .. ':' .. off .. ':' .. attempt }
  end
end
read_starts(old_starts)
if n_starts ~= '' then
  read_starts(n_starts)
  table.sort(starts, function(a, b) return before(a[1], a[2], a[3], b[1], b[2], b[3]) end)
  local kept, texts = {}, {}
  for _, start in ipairs(starts) do
    if #kept == 0 or start[3] > kept[#kept][3] then kept[#kept + 1] = start; texts[#texts + 1] = start[4] end
  end
  starts, starts_text = kept, table.concat(texts, ' ')
end
if starts_text ~= old_starts then put('starts', starts_text); changed = true end
same = same and starts_text == n_starts

-- Endings: all are kept with their usage; the first that no start of a later attempt stands before is how the job ended.
local n_ends, ends, events, is_new_end = number(), nil, {}, false
if n_ends > 0 or (old_ends and starts_text ~= old_starts) then
  ends = old_ends and cjson.decode(old_ends) or {}
  local places = {}
  for _, ending in ipairs(ends) do places[ending[1] .. ':' .. ending[2]] = true end
  for _ = 1, n_ends do
    local ending = { number(), number(), number(), number(), take(), take() }
    local place, event = ending[1] .. ':' .. ending[2], take()
    if event ~= '' then events[place] = event end
    if not places[place] then ends[#ends + 1] = ending; places[place] = true; is_new_end = true end
  end
  table.sort(ends, function(a, b) return before(a[1], a[2], 0, b[1], b[2], 0) end)
  if is_new_end then put('ends', cjson.encode(ends)); changed = true end
  same = same and #ends == n_ends
else
  same = same and not old_ends
end
local function is_fenced(ending)
  for _, start in ipairs(starts) do
    if start[3] > ending[3] and before(start[1], start[2], 0, ending[1], ending[2], 0) then return true end
  end
  return false
end
if ends then
  local counts = nil
  for _, ending in ipairs(ends) do
    local place = ending[1] .. ':' .. ending[2]
    local was_counted = e_part == ending[1] and e_off == ending[2]
    if is_fenced(ending) then
      drop('end:' .. place)
    elseif not counts then
      counts = ending
      local event = events[place] or (not was_counted and redis.call('HGET', job_key, 'end:' .. place))
      if event then put('end', event) elseif not was_counted then drop('end') end
      if not was_counted then drop('end:' .. place) end
    else
      -- It may still come to count: a fence before the one that counts now may be folded later.
      local event = events[place] or (was_counted and redis.call('HGET', job_key, 'end'))
      if event then put('end:' .. place, event) end
    end
  end
  if counts then
    if counts[1] ~= e_part or counts[2] ~= e_off then
      put('e_part', counts[1]); put('e_off', counts[2]); put('e_attempt', counts[3]); put('e_seq', counts[4])
      put('e_status', counts[5])
      changed = true
    end
    e_status, e_attempt, e_seq = counts[5], counts[3], counts[4]
  elseif e_part then
    for _, name in ipairs({ 'e_part', 'e_off', 'e_attempt', 'e_seq', 'e_status', 'end' }) do drop(name) end
    e_status, e_attempt, e_seq, changed = nil, nil, nil, true
  end
end

local n_started = number()
if n_started and (not started or n_started < started) then
  put('started', n_started); started, changed = n_started, true
end
same = same and started == n_started

local n_crashes = number()
if n_crashes > crashes then
  put('crashes', n_crashes); crashes, changed = n_crashes, true
end
same = same and crashes == n_crashes

n_attempt, n_seq = number(), number()
local has_output, state_off = take() == '1', number()

local n_deleted, request = number(), take()
if n_deleted and (not deleted or n_deleted < deleted) then
  put('deleted', n_deleted); deleted, changed = n_deleted, true
end
same = same and deleted == n_deleted
if deleted then
  redis.call('UNLINK', KEYS[5], events_key, events_key .. ':prefix')
elseif request ~= '' then
  redis.call('SET', KEYS[5], request, 'EX', ttl_s)
end

-- Replay: ids are positions, so what is already there or came too late is left out.
local stored = 0
while at < #ARGV do
  local attempt, seq, kind, value = number(), number(), take(), take()
  local is_new = attempt > top_attempt or (attempt == top_attempt and seq > top_seq)
  local is_void = e_attempt and (attempt > e_attempt or (attempt == e_attempt and seq > e_seq))
  if is_new and not is_void and not deleted then
    local added = redis.pcall('XADD', events_key, attempt .. '-' .. seq, 't', kind, 'v', value)
    if type(added) == 'string' then stored = stored + #value end
    top_attempt, top_seq = attempt, seq
  end
end
if n_attempt > top_attempt or (n_attempt == top_attempt and n_seq > top_seq) then
  top_attempt, top_seq = n_attempt, n_seq
end
if top_attempt ~= known(11) or top_seq ~= known(12) then put('attempt', top_attempt); put('seq', top_seq) end
if has_output then put('output', '1') end

local over = 0
if stored > 0 then
  local bytes = redis.call('HINCRBY', job_key, 'bytes', stored)
  redis.call('EXPIRE', events_key, replay_ttl_s)
  redis.call('EXPIRE', events_key .. ':prefix', replay_ttl_s)
  if bytes > cap_bytes or redis.call('XLEN', events_key) > cap_events then over = 1 end
end

local now_status = e_status or p_status or (m_rank and 'queued')
if now_status and now_status ~= status then
  if status then redis.call('HINCRBY', counts_key, status, -1) end
  redis.call('HINCRBY', counts_key, now_status, 1)
  put('status', now_status)
end
if changed then version = version + 1; put('version', version) end

-- From the state topic, at that offset. If it is all we know, the topic is up to date.
if state_off and state_off > pub_off then
  pub_off, pub_v = state_off, same and version or 0
  put('pub_off', pub_off); put('pub_v', pub_v)
end
if #unset > 0 then redis.call('HDEL', job_key, unpack(unset)) end
if #set > 0 then redis.call('HSET', job_key, unpack(set)) end
if deleted then redis.call('HDEL', job_key, 'end') end
if changed or stored > 0 then redis.call('EXPIRE', job_key, ttl_s) end

if version > pub_v and now_status then
  return { over, version, redis.call('HMGET', job_key, 'm_rank', 'm_ms', 'user', 'meta', 'p_attempt', 'p_seq', 'p_status',
    'progress', 'p_until', 'starts', 'ends', 'e_part', 'e_off', 'end', 'started', 'attempt', 'seq', 'output', 'deleted',
    'crashes') }
end
return { over }
