-- What all scripts share: it is put in front of each. The same arithmetic is in periods.py and counters.py.

local CELL, CELLS = 3000, 20
local MINUTE = CELL * CELLS
local DAY = 86400000
local HOUR = 3600000
local SOON = 1000
local REST = -1 -- the rest of the period; whoever asked knows how long that is
local KEEP = { minute = 2 * MINUTE, day = 3 * DAY, month = 63 * DAY, slots = 2 * DAY }

-- The clocks of the hosts may differ, so the server's is the one that counts; tests bring their own.
local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Lua would write a long number as 1.8e+12.
local function text(number)
  return string.format('%.0f', number)
end

-- Days since 0000-03-01 make every leap day the last of its year: http://howardhinnant.github.io/date_algorithms.html
local function month_number(time)
  local floor = math.floor
  local days = floor(time / DAY) + 719468
  local era = floor(days / 146097)
  local day = days - era * 146097
  local year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365)
  local day_of_year = day - (365 * year + floor(year / 4) - floor(year / 100))
  local since_march = floor((5 * day_of_year + 2) / 153)
  return (year + era * 400) * 12 + since_march + 2
end

-- Which day or month it is; slots have no period.
local function period_number(kind, time)
  if kind == 'day' then
    return text(math.floor(time / DAY))
  elseif kind == 'month' then
    return text(month_number(time))
  end
  return ''
end

local function lease_name(kind, time, amount, id)
  return period_number(kind, time) .. ':' .. amount .. ':' .. id
end

-- Adds to a field, which never becomes negative even where Redis has lost what is now taken back.
local function add(counter, field, amount)
  if redis.call('HINCRBY', counter, field, amount) < 0 then
    redis.call('HSET', counter, field, 0)
  end
end

-- Out of memory is told by the first write that may need some: it comes before the one that frees some.
local function give_back(counter, leases, lease)
  local number, amount = string.match(lease, '^(%d*):(%d+):')
  add(counter, 'h' .. number, 0 - tonumber(amount)) -- not -0, which is no integer to Redis
  redis.call('ZREM', leases, lease)
end
