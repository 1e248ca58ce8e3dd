"""What the journals run in the server (`tiers/redis/journal` says what lies where).

The last key of each is the sorted set of the journal that it is about.
"""

from __future__ import annotations

from typing import Final

from cascada.tiers.redis_scripts.fill import STORES
from cascada.tiers.redis_scripts.journaled import NOTES, OF_LAST_KEY, PLACES
from cascada.tiers.redis_scripts.prelude import COMMON, COUNTS, ROOM, Script

_NUMBERED: Final = r"""
local function numbered(text)
  local number = redis.call('ZSCORE', at_jp, text)
  return number and string.format('%.0f', tonumber(number))
end
-- Who adds this key, in the tier that what is written behind goes to.
local function bar_of(text) return place_in_journal('jb:' .. text) end
-- It waits no more, and its entry has a life of so many ms again, unless another change comes.
local function drop(text, life)
  local size = redis.call('HSTRLEN', at_jr, text)
  redis.call('HDEL', at_jr, text)
  redis.call('ZREM', at_jp, text)
  redis.call('ZREM', at_jc, text)
  redis.call('HINCRBY', at_jm, 'b', -size)
  local v = string.sub(KEYS[1], 1, -2) .. 'v:' .. text
  if life and redis.call('PTTL', v) == -1 then redis.call('PEXPIRE', v, life) end
end
"""

_PLACES: Final = OF_LAST_KEY + PLACES + _NUMBERED

_JOURNALED: Final = (
    OF_LAST_KEY
    + NOTES
    + _NUMBERED
    + r"""
-- Behind what stores without a journal: how many changes may wait, their bytes, for each key how it
-- is put (`capabilities.Put`), and the database's number at its HOLD, with "m" if it is put after a
-- miss.
local held = (#KEYS - 4 - tonumber(ARGV[6])) / 5
local behind = #ARGV - 2 - 2 * held
local function last_argument() return behind end
local function put_as(nth) return ARGV[behind + 1 + 2 * nth] end

-- A server without memory refuses the first write, but none behind one that needs no memory.
if named ~= '' then redis.call('HINCRBY', at_jm, 'b', 0) end
local sums = redis.call('HMGET', at_jm, 'b', 'a')
local bytes = tonumber(sums[1] or 0) + tonumber(sums[2] or 0)
local waiting = redis.call('ZCARD', at_jp) + redis.call('HLEN', at_jx)

-- 4 if a change stands against it, since its caller may have read what that is to replace; 5 if
-- there is no room; else false.
local function no_room(nth, text)
  local put = put_as(nth)
  if put == '2' or put == '3' then
    local record = redis.call('HGET', at_jr, text)
    if record and not string.find(record, '^%d+ %-?%d+ m\n') then return 4 end
  end
  local full = waiting >= tonumber(ARGV[behind + 1]) or bytes >= tonumber(ARGV[behind + 2])
  if named == '' and redis.call('EXISTS', bar_of(text)) == 1 then return 5 end
  return put ~= '3' and full and not numbered(text) and 5
end

-- What finds no room here is told the database first, as all that is not journaled.
local PUT_OFF = true

local function journaled(nth, text, v, whole)
  local put = put_as(nth)
  if put == '3' then return end
  local one, more = note(text, v, ARGV[behind + 2 + 2 * nth], whole)
  waiting, bytes = waiting + one, bytes + more
  if put == '1' then
    -- It came later than what was set aside, and is what the key is to be.
    local size = redis.call('HSTRLEN', at_jx, text)
    if redis.call('HDEL', at_jx, text) == 1 then redis.call('HINCRBY', at_jm, 'a', -size) end
  end
end
"""
)

PUT: Final = Script(COMMON + ROOM + COUNTS + _JOURNALED + STORES)

WAITING: Final = Script(
    _PLACES
    + r"""
-- ARGV: keys. For each 1 if a change of it waits, else 0.
local answers = {}
for i, text in ipairs(ARGV) do answers[i] = redis.call('ZSCORE', at_jp, text) and 1 or 0 end
return answers
"""
)

CLAIM: Final = Script(
    _PLACES
    + r"""
-- ARGV: 1 how many, 2 for how many ms, 3 bytes of them. Keys and records, the oldest first, less
-- those that others are at work on.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREM', at_jc, '') -- a server without memory refuses none behind this
local claimed, bytes, at = {}, 0, 0
while #claimed < 2 * ARGV[1] and bytes < tonumber(ARGV[3]) do
  local page = redis.call('ZRANGE', at_jp, at, at + 99)
  if #page == 0 then break end
  at = at + #page
  for _, text in ipairs(page) do
    local till = redis.call('ZSCORE', at_jc, text)
    if #claimed < 2 * ARGV[1] and bytes < tonumber(ARGV[3]) and tonumber(till or 0) <= now then
      redis.call('ZADD', at_jc, now + ARGV[2], text)
      local record = redis.call('HGET', at_jr, text) or ''
      bytes = bytes + #record
      claimed[#claimed + 1] = text
      claimed[#claimed + 1] = record
    end
  end
end
return claimed
"""
)

DONE: Final = Script(
    _PLACES
    + r"""
-- ARGV: for each change its key, its number, and the life of its entry in ms. Only if it is still
-- the latest of its key.
local done = 0
for i = 1, #ARGV, 3 do
  if numbered(ARGV[i]) == ARGV[i + 1] then
    drop(ARGV[i], ARGV[i + 2])
    done = done + 1
  end
end
return done
"""
)

BAR: Final = Script(
    _PLACES
    + r"""
-- ARGV: 1 a key, 2 the token of who bars it, 3 for how many ms. The record of its change.
redis.call('HSET', bar_of(ARGV[1]), ARGV[2], '')
redis.call('PEXPIRE', bar_of(ARGV[1]), ARGV[3])
return redis.call('HGET', at_jr, ARGV[1]) or ''
"""
)

UNBAR: Final = Script(_PLACES + "return redis.call('HDEL', bar_of(ARGV[1]), ARGV[2])")

STANDING: Final = Script(
    COMMON
    + _PLACES
    + r"""
-- KEYS: 1 e, 2.. = the generations of the keys' names, each once. ARGV: 1 run_id, 2 prefix of
-- generations, then for each key its text, the number of its names, and the places of these. For
-- each the record of its change, if it was not put after a miss and nothing was named since: then
-- its entry would be gone, or would have a stamp that is void.
local e = get(KEYS[1])
local answers, at = {}, 3
while at <= #ARGV do
  local record, count = redis.call('HGET', at_jr, ARGV[at]), tonumber(ARGV[at + 1])
  local _, ends = string.find(record or '', '^%d+ %-?%d+\n')
  local stamps = {e and string.sub(e, 1, 8)}
  for i = at + 2, at + 1 + count do
    local g = get(KEYS[1 + ARGV[i]])
    stamps[#stamps + 1] = g and string.sub(g, 1, 8) or ''
  end
  local v = string.sub(KEYS[1], 1, -2) .. 'v:' .. ARGV[at]
  local stands = ends and redis.call('EXISTS', v) == 1 and e and string.sub(e, 9, 48) == ARGV[1]
    and bears(string.sub(record, ends + 1), table.concat(stamps), ARGV[2])
  answers[#answers + 1] = stands and record or ''
  at = at + 2 + count
end
return answers
"""
)

SET_ASIDE: Final = Script(
    _PLACES
    + r"""
-- ARGV: 1 the key, 2 the number of its change (empty: any), 3 why, 4 how many are kept aside, 5 the
-- life of its entry in ms.
local number = numbered(ARGV[1])
if not number or (ARGV[2] ~= '' and number ~= ARGV[2]) then return 0 end
redis.call('ZREM', at_jc, ARGV[1])
local size = redis.call('HSTRLEN', at_jx, ARGV[1])
if size > 0 or redis.call('HLEN', at_jx) < tonumber(ARGV[4]) then
  local kept = ARGV[3] .. '\n' .. (redis.call('HGET', at_jr, ARGV[1]) or '')
  redis.call('HSET', at_jx, ARGV[1], kept)
  redis.call('HINCRBY', at_jm, 'a', #kept - size)
end
drop(ARGV[1], ARGV[5])
return 1
"""
)

ASIDE: Final = Script(
    _PLACES
    + r"""
-- ARGV: 1 how many, 2 bytes of them. Keys, and why with the record.
local found, bytes, at = {}, 0, '0'
repeat
  local page = redis.call('HSCAN', at_jx, at, 'COUNT', 100)
  at = page[1]
  for i = 1, #page[2], 2 do
    if #found < 2 * ARGV[1] and bytes < tonumber(ARGV[2]) then
      found[#found + 1] = page[2][i]
      found[#found + 1] = page[2][i + 1]
      bytes = bytes + #page[2][i + 1]
    end
  end
until at == '0' or #found >= 2 * ARGV[1] or bytes >= tonumber(ARGV[2])
return found
"""
)

RETRY: Final = Script(
    _PLACES
    + r"""
-- ARGV: keys; none: all. They wait again, with the numbers that they had, unless a later one does.
-- What is damaged has none, and stays. How many do.
local given, back = ARGV, 0
if #given == 0 then given = redis.call('HKEYS', at_jx) end
for _, text in ipairs(given) do
  local kept = redis.call('HGET', at_jx, text)
  local record, number = string.match(kept or '', '^[^\n]*\n((%d+) .*)$')
  if record then
    redis.call('HDEL', at_jx, text)
    redis.call('HINCRBY', at_jm, 'a', -#kept)
    -- What was put after a miss is for where nothing is, which this one ends.
    if string.find(redis.call('HGET', at_jr, text) or '', '^%d+ %-?%d+ m\n') then drop(text) end
    if not numbered(text) then
      redis.call('HSET', at_jr, text, record)
      redis.call('ZADD', at_jp, number, text)
      redis.call('HINCRBY', at_jm, 'b', #record)
      back = back + 1
    end
  end
end
return back
"""
)

PROBE: Final = Script(
    r"""
-- KEYS: 1 a hash, 2 a sorted set. What the user may not do of all that the other scripts do.
local function try(...)
  local said = redis.pcall(...)
  return type(said) == 'table' and said.err and select(1, ...) .. ': ' .. said.err
end
local set, hash = KEYS[2], KEYS[1]
local failed = try('HSET', hash, 'a', '1') or try('HGET', hash, 'a') or try('HMGET', hash, 'a')
  or try('HSTRLEN', hash, 'a') or try('HINCRBY', hash, 'a', 1) or try('HLEN', hash)
  or try('HKEYS', hash)
  or try('HDEL', hash, 'a') or try('ZADD', set, 1, 'a') or try('ZSCORE', set, 'a')
  or try('ZCARD', set) or try('ZRANGE', set, 0, 0) or try('PERSIST', set) or try('ZREM', set, 'a')
return failed or ''
"""
)
