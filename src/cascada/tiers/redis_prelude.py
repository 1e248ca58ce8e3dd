"""What all scripts of the Redis tier begin with: the epoch, the rings of names, stamps, counts."""

from __future__ import annotations

import hashlib
from typing import Final


class Script:
    """A script and the name that the server knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode()).hexdigest()


COMMON: Final = r"""
local time = redis.call('TIME')
local drawn = 0
local function nonce(seed)
  drawn = drawn + 1
  local hex = redis.sha1hex(seed .. time[1] .. ':' .. time[2] .. ':' .. drawn)
  local left, right = string.sub(hex, 1, 8), string.sub(hex, 9, 16)
  return struct.pack('>I4I4', tonumber(left, 16), tonumber(right, 16))
end

-- What is stored as a string there: whatever else may be there is nothing to us.
local function get(key)
  local found = redis.pcall('GET', key)
  return type(found) == 'string' and found
end

-- The epoch names the server process: a snapshot that came back under another run_id is another
-- epoch, and so is an e that was lost. Its ring begins empty: it knows nothing of before. What an
-- older layout has written is left behind in the same way; a newer one stays, for its own to use.
local function epoch(run_id, layout, seed, anew)
  local e = get(KEYS[1])
  local number, q = tonumber(string.sub(e or '', 49, 52)), tonumber(string.sub(e or '', 53))
  if e and q and not anew and string.sub(e, 9, 48) == run_id and number >= tonumber(layout) then
    return e, q
  end
  e = nonce(seed) .. run_id .. layout .. '0'
  redis.call('SET', KEYS[1], e)
  redis.call('DEL', KEYS[2], KEYS[3], string.sub(KEYS[1], 1, -2) .. 't')
  return e, 0
end

-- A ring that is missing has forgotten everything up to now.
local function low(ring, q)
  local mark = redis.call('ZSCORE', ring, '')
  if not mark then
    redis.call('ZADD', ring, q, '')
    return q
  end
  return tonumber(mark)
end

local function remember(ring, q, names, first, last)
  low(ring, q - 1)
  local members = {}
  for i = first, last do
    members[#members + 1] = q
    members[#members + 1] = names[i]
  end
  redis.call('ZADD', ring, unpack(members))
  local over = redis.call('ZCARD', ring) - 4096
  if over > 256 then
    local cut = redis.call('ZRANGE', ring, over, over, 'WITHSCORES')
    redis.call('ZREMRANGEBYSCORE', ring, '-inf', '(' .. cut[2])
    redis.call('ZADD', ring, cut[2] - 1, '')
  end
end

-- When invalidation q was, for people who ask; a set is none.
local function date(q)
  local times = string.sub(KEYS[1], 1, -2) .. 't'
  redis.call('ZADD', times, q, time[1] .. '.' .. time[2] .. ' ' .. string.format('%d', q))
  if redis.call('ZCARD', times) > 4352 then redis.call('ZREMRANGEBYRANK', times, 0, 255) end
end

-- Whether `name` was invalidated after q, as far as the ring can still tell.
local function named_since(ring, name, q)
  local score = redis.call('ZSCORE', ring, name)
  return score and tonumber(score) > q
end

-- Whether v is an entry that bears these stamps, and those that its dynamic names have now. It may
-- be any bytes at all, and its counts and lengths may lie.
local function bears(v, stamps, prefix)
  if not v or #v < 50 or string.sub(v, 1, 3) ~= '\202\218\001'
      or string.sub(v, 51, 50 + #stamps) ~= stamps then
    return false
  end
  local number = string.byte(v, 49) + 256 * string.byte(v, 50)
  if 8 * (string.byte(v, 47) + 256 * string.byte(v, 48) - number) ~= #stamps then return false end
  local stamp = 51 + #stamps
  local at = stamp + 8 * number
  for first = 1, number, 1000 do
    local names = {}
    for i = 1, math.min(1000, number + 1 - first) do
      if at + 1 > #v then return false end
      local length = string.byte(v, at) + 256 * string.byte(v, at + 1)
      if at + 1 + length > #v then return false end
      names[i] = prefix .. string.sub(v, at + 2, at + 1 + length)
      at = at + 2 + length
    end
    for _, g in ipairs(redis.call('MGET', unpack(names))) do
      if not g or string.sub(g, 1, 8) ~= string.sub(v, stamp, stamp + 7) then return false end
      stamp = stamp + 8
    end
  end
  return true
end

-- One of an entry's times. Both never and a time before 1970 are later than any other.
local function time_at(v, at)
  local sum = 0
  for i = at + 7, at, -1 do sum = 256 * sum + string.byte(v, i) end
  return sum
end

-- What a generation has counted: entries that are what the name says, and those made from it.
local function counted(g)
  local own, made = string.match(g, '^(%d+):(%d+)', 9)
  return tonumber(own or 0), tonumber(made or 0)
end

-- How many were sent it; -1 if this user may not publish: then others learn it from q, in e.
local function publish(channel, message)
  local receivers = redis.pcall('PUBLISH', channel, message)
  if type(receivers) == 'number' then return receivers end
  return -1
end
"""
