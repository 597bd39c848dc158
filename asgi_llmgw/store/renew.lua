-- These requests are still running: leases that have not ended yet end later.
-- KEYS: for each claim the request's record, the limit's counter and its leases
-- ARGV: the time, the lease, then for each claim its kind, amount, the request's id and when it was claimed; times in ms

local now, lease = clock(ARGV[1]), tonumber(ARGV[2])

for place = 1, #KEYS / 3 do
  local record, counter, leases = KEYS[3 * place - 2], KEYS[3 * place - 1], KEYS[3 * place]
  local kind, amount, id, time = unpack(ARGV, 4 * place - 1, 4 * place + 2)
  local name = lease_name(kind, tonumber(time), amount, id)
  local ends = redis.call('ZSCORE', leases, name)
  if ends and tonumber(ends) > now then
    redis.call('ZADD', leases, text(math.max(now + lease, tonumber(ends))), name)
    redis.call('PEXPIRE', leases, KEEP[kind])
    redis.call('PEXPIRE', counter, KEEP[kind])
    redis.call('PEXPIRE', record, lease + HOUR)
  end
end
return 1
