-- A version of a job was acknowledged in the state topic at an offset. The record with the highest offset is what readers
-- keep; if that is not our newest version, the newest must be written again.
-- KEYS  job hash
-- ARGV  version, offset
-- Reply nothing, or: version and facets to write again
local old = redis.call('HMGET', KEYS[1], 'version', 'pub_v', 'pub_off')
if not old[1] then return {} end
local version, pub_v, pub_off = tonumber(old[1]), tonumber(old[2] or 0), tonumber(old[3] or -1)
if tonumber(ARGV[2]) > pub_off then
  pub_v = tonumber(ARGV[1])
  redis.call('HSET', KEYS[1], 'pub_v', pub_v, 'pub_off', ARGV[2])
end
if pub_v == version then return {} end
return { version, redis.call('HMGET', KEYS[1], 'm_rank', 'm_ms', 'user', 'meta', 'p_attempt', 'p_seq', 'p_status',
  'progress', 'p_until', 'starts', 'ends', 'e_part', 'e_off', 'end', 'started', 'attempt', 'seq', 'output',
  'deleted', 'crashes') }
