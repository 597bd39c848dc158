-- Counts what it really was instead of what was claimed, and gives the slots back.
-- KEYS: the request's record, then for each claim its counter and its leases
-- ARGV: the time, the request's id, when it was claimed, then for each claim its kind, amount and what it was; times in ms
-- Returns 1, or 0 if that had been done before.

local now, id = clock(ARGV[1]), ARGV[2]
local record = redis.call('GET', KEYS[1])
if record and string.sub(record, -1) == 's' then
  return 0
end
local time = tonumber(record or ARGV[3])
-- first of all, so that nothing counts twice where the rest goes wrong
redis.call('SET', KEYS[1], text(time) .. 's', 'PX', HOUR)

-- Without a record nothing is known of the claim: it was lost with the server that had it, or it has not come yet.
local function settle(kind, counter, leases, amount, actual)
  if kind == 'minute' then
    local cell = math.floor(time / CELL)
    if (cell + 1) * CELL + MINUTE > now then
      add(counter, text(cell), record and actual - amount or actual)
      redis.call('PEXPIRE', counter, KEEP[kind])
    end
    return
  end
  local name = lease_name(kind, time, amount, id)
  if redis.call('ZSCORE', leases, name) then
    give_back(counter, leases, name)
  end
  if kind ~= 'slots' and actual > 0 then
    add(counter, 'u' .. period_number(kind, time), actual)
    redis.call('PEXPIRE', counter, KEEP[kind])
  end
end

for place = 1, (#KEYS - 1) / 2 do
  local kind, amount, actual = ARGV[3 * place + 1], ARGV[3 * place + 2], tonumber(ARGV[3 * place + 3])
  settle(kind, KEYS[2 * place], KEYS[2 * place + 1], amount, actual)
end
return 1
