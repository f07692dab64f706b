-- Join what one or more records tell of a job with what is known of it: jobs/facets.py, inside Redis.
-- KEYS  job hash, events stream, index of the tenant, counts of the tenant
-- ARGV  see `_arguments` in jobs/fold.py
-- Reply 1 if the replay stream is over its cap, then either nothing, or: version, meta user, and the facets of a job whose
--       newest version is not in the state topic yet.
local job_key, events_key, index_key, counts_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local job, ttl_s, replay_ttl_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local cap_events, cap_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])

local old = redis.call('HMGET', job_key, 'm_rank', 'm_ms', 'm_tie', 'user', 'p_attempt', 'p_seq', 'p_tie',
  'e_part', 'e_off', 'started', 'attempt', 'seq', 'version', 'pub_v', 'pub_off', 'status', 'p_status', 'e_status',
  'e_attempt', 'e_seq')
local function known(at) return old[at] and tonumber(old[at]) end
local m_rank, m_ms, m_tie, user = known(1), known(2), known(3), old[4]
local p_attempt, p_seq, p_tie = known(5), known(6), known(7)
local e_part, e_off, started = known(8), known(9), known(10)
local top_attempt, top_seq = known(11) or 0, known(12) or 0
local version, pub_v, pub_off = known(13) or 0, known(14) or 0, known(15) or -1
local status, p_status, e_status = old[16], old[17], old[18]
local e_attempt, e_seq = known(19), known(20)

local function given(at) return ARGV[at] ~= '' and tonumber(ARGV[at]) or nil end
-- Whether the triple a comes before b; the first member that differs decides.
local function before(a1, a2, a3, b1, b2, b3)
  if a1 ~= b1 then return a1 < b1 end
  if a2 ~= b2 then return a2 < b2 end
  return a3 < b3
end
local set, changed, same = {}, false, true
local function put(name, value) set[#set + 1] = name; set[#set + 1] = value end

local n_rank, n_ms, n_tie = given(6), given(7), given(8)
if n_rank then
  if not m_rank or before(m_rank, -m_ms, -m_tie, n_rank, -n_ms, -n_tie) then
    local n_user = ARGV[9]
    if user and user ~= '' and user ~= n_user then redis.call('ZREM', index_key .. ':user:' .. user, job) end
    put('m_rank', n_rank); put('m_ms', n_ms); put('m_tie', n_tie); put('user', n_user); put('meta', ARGV[10])
    redis.call('ZADD', index_key, n_ms, job)
    if n_user ~= '' then redis.call('ZADD', index_key .. ':user:' .. n_user, n_ms, job) end
    m_rank, m_ms, m_tie, changed = n_rank, n_ms, n_tie, true
  elseif ARGV[28] == '1' then
    redis.call('ZADD', index_key, m_ms, job)
    local owner = user or ''
    if owner ~= '' then redis.call('ZADD', index_key .. ':user:' .. owner, m_ms, job) end
  end
  same = same and m_rank == n_rank and m_ms == n_ms and m_tie == n_tie
else
  same = same and not m_rank
end

local n_attempt, n_seq
n_attempt, n_seq, n_tie = given(11), given(12), given(13)
if n_attempt then
  if not p_attempt or before(p_attempt, p_seq, -p_tie, n_attempt, n_seq, -n_tie) then
    put('p_attempt', n_attempt); put('p_seq', n_seq); put('p_tie', n_tie); put('p_status', ARGV[14])
    put('progress', ARGV[15])
    p_attempt, p_seq, p_tie, p_status, changed = n_attempt, n_seq, n_tie, ARGV[14], true
  end
  same = same and p_attempt == n_attempt and p_seq == n_seq and p_tie == n_tie
else
  same = same and not p_attempt
end

local n_part, n_off = given(16), given(17)
if n_part then
  if not e_part or before(n_part, n_off, 0, e_part, e_off, 0) then
    put('e_part', n_part); put('e_off', n_off); put('e_attempt', ARGV[18]); put('e_seq', ARGV[19])
    put('e_status', ARGV[20]); put('ending', ARGV[21]); put('end', ARGV[22])
    e_part, e_off, e_status, changed = n_part, n_off, ARGV[20], true
    e_attempt, e_seq = tonumber(ARGV[18]), tonumber(ARGV[19])
  end
  same = same and e_part == n_part and e_off == n_off
else
  same = same and not e_part
end

local n_started = given(23)
if n_started and (not started or n_started < started) then
  put('started', n_started); started, changed = n_started, true
end
same = same and started == n_started

-- Replay: ids are positions, so what is already there or came too late is left out.
local stored = 0
for at = 29, #ARGV, 4 do
  local attempt, seq = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local is_new = attempt > top_attempt or (attempt == top_attempt and seq > top_seq)
  local is_void = e_attempt and (attempt > e_attempt or (attempt == e_attempt and seq > e_seq))
  if is_new and not is_void then
    local added = redis.pcall('XADD', events_key, attempt .. '-' .. seq, 't', ARGV[at + 2], 'v', ARGV[at + 3])
    if type(added) == 'string' then stored = stored + #ARGV[at + 3] end
    top_attempt, top_seq = attempt, seq
  end
end
n_attempt, n_seq = tonumber(ARGV[24]), tonumber(ARGV[25])
if n_attempt > top_attempt or (n_attempt == top_attempt and n_seq > top_seq) then
  top_attempt, top_seq = n_attempt, n_seq
end
if top_attempt ~= known(11) or top_seq ~= known(12) then put('attempt', top_attempt); put('seq', top_seq) end
if ARGV[26] == '1' then put('output', '1') end

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

-- ARGV[27]: this came from the state topic, from that offset. If it is all we know, the topic is up to date.
local state_off = given(27)
if state_off and state_off > pub_off then
  pub_off, pub_v = state_off, same and version or 0
  put('pub_off', pub_off); put('pub_v', pub_v)
end
if #set > 0 then redis.call('HSET', job_key, unpack(set)) end
if changed or stored > 0 then redis.call('EXPIRE', job_key, ttl_s) end

if version > pub_v and now_status then
  return { over, version, redis.call('HMGET', job_key, 'm_rank', 'm_ms', 'user', 'meta', 'p_attempt', 'p_seq', 'p_status',
    'progress', 'e_part', 'e_off', 'e_attempt', 'e_seq', 'e_status', 'ending', 'end', 'started', 'attempt', 'seq',
    'output') }
end
return { over }
