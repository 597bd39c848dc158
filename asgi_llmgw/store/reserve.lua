-- Sets aside all that is claimed, or nothing.
-- KEYS: the request's record, then for each claim its counter and its leases
-- ARGV: the time, the lease, the request's id, then for each claim its kind, amount and ceiling; times in ms
-- Returns the time, what happened, and for each claim what was taken before, the wait (0: not short) and the reset.

local now, lease, id = clock(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

local DENIED, ADMITTED, KNOWN = 0, 1, 2

local function reap(counter, leases)
  for _, expired in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1000)) do
    give_back(counter, leases, expired)
  end
end

local function minute_stands(counter, amount, ceiling)
  local taken, newest, cells, fields = 0, nil, {}, redis.call('HGETALL', counter)
  for place = 1, #fields, 2 do
    local cell, count = tonumber(fields[place]), tonumber(fields[place + 1])
    local leaves = (cell + 1) * CELL + MINUTE
    if leaves <= now then
      redis.call('HDEL', counter, fields[place])
    elseif count > 0 then
      taken = taken + count
      newest = math.max(newest or 0, leaves)
      cells[#cells + 1] = { leaves, count }
    end
  end
  local excess, wait = taken + amount - ceiling, 0
  if excess > 0 then
    wait = MINUTE
    table.sort(cells, function(one, other) return one[1] < other[1] end)
    for _, cell in ipairs(cells) do
      excess = excess - cell[2]
      if excess <= 0 then
        wait = cell[1] - now
        break
      end
    end
  end
  return taken, wait, newest and newest - now or 0
end

-- How a limit stands: what is taken, the wait until so much is free, the time until all is.
local function stands(kind, counter, leases, amount, ceiling)
  if kind == 'minute' then
    return minute_stands(counter, amount, ceiling)
  end
  reap(counter, leases)
  local number = period_number(kind, now)
  local found = redis.call('HMGET', counter, 'u' .. number, 'h' .. number)
  local used, held = tonumber(found[1] or 0), tonumber(found[2] or 0)
  local excess, wait = used + held + amount - ceiling, 0
  if excess > 0 then
    wait = (kind == 'slots' or excess <= held) and SOON or REST
  end
  if used + held == 0 then
    return 0, wait, 0
  end
  return used + held, wait, kind == 'slots' and SOON or REST
end

-- The counters of days and months that are over go when a new one begins.
local function forget(counter, number)
  if redis.call('HLEN', counter) > 4 then
    for _, field in ipairs(redis.call('HKEYS', counter)) do
      if tonumber(string.sub(field, 2)) < number - 1 then
        redis.call('HDEL', counter, field)
      end
    end
  end
end

local function claim(kind, counter, leases, amount)
  if kind == 'minute' then
    redis.call('HINCRBY', counter, text(math.floor(now / CELL)), amount)
  else
    local number = period_number(kind, now)
    redis.call('HINCRBY', counter, 'h' .. number, amount)
    redis.call('ZADD', leases, text(now + lease), lease_name(kind, now, amount, id))
    redis.call('PEXPIRE', leases, KEEP[kind])
    if number ~= '' then
      forget(counter, tonumber(number))
    end
  end
  redis.call('PEXPIRE', counter, KEEP[kind])
end

local record = redis.call('GET', KEYS[1])
local reply = { now, ADMITTED }
if record then
  reply = { tonumber(string.match(record, '^%d+')), KNOWN }
end
for place = 1, (#KEYS - 1) / 2 do
  local kind, amount, ceiling = ARGV[3 * place + 1], tonumber(ARGV[3 * place + 2]), tonumber(ARGV[3 * place + 3])
  local taken, wait, reset = stands(kind, KEYS[2 * place], KEYS[2 * place + 1], amount, ceiling)
  if wait ~= 0 and not record then
    reply[2] = DENIED
  end
  reply[#reply + 1] = taken
  reply[#reply + 1] = wait
  reply[#reply + 1] = reset
end
if reply[2] == ADMITTED then
  for place = 1, (#KEYS - 1) / 2 do
    claim(ARGV[3 * place + 1], KEYS[2 * place], KEYS[2 * place + 1], ARGV[3 * place + 2])
  end
  redis.call('SET', KEYS[1], text(now), 'PX', lease + HOUR)
end
return reply
