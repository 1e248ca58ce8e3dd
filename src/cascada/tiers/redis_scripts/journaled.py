"""The journal of changes as scripts see it (`tiers/redis/journal` says what lies where).

What the scripts of the journal do, and those that give an entry of which a change waits another
life (`tiers/redis/touching`): that change has it as well, in the same step.
"""

from __future__ import annotations

from typing import Final

OF_LAST_KEY: Final = r"""
local named = string.sub(KEYS[#KEYS], #KEYS[1] + 2)
"""
"""The journal whose sorted set is the last key."""

WRITTEN_BEHIND: Final = r"""
local named = ''
"""
"""The journal of what is written behind, which has no name."""

PLACES: Final = r"""
local function place_in_journal(what) return string.sub(KEYS[1], 1, -2) .. what .. named end
local at_jp, at_jr, at_jc = place_in_journal('jp'), place_in_journal('jr'), place_in_journal('jc')
local at_jm, at_jx = place_in_journal('jm'), place_in_journal('jx')
"""

LAST_OF_ALL: Final = r"""
-- The greatest number in all journals of the namespace.
local at_jn = string.sub(KEYS[1], 1, -2) .. 'jn'
local function last_of_all() return tonumber(get(at_jn) or 0) or 0 end
"""
"""A forgetting asks it: what is journaled later has a greater one. Needs `COMMON` before it."""

NOTES: Final = (
    PLACES
    + LAST_OF_ALL
    + r"""
-- Journal entry `whole` of key v: whether no change of it has waited, and by how many bytes all
-- records are more.
local function note(text, v, fence, whole)
  local last = tonumber(redis.call('HGET', at_jm, 'n') or 0)
  last = math.max(last, last_of_all())
  local number = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  local record = number .. ' ' .. fence .. '\n' .. whole
  local more = #record - redis.call('HSTRLEN', at_jr, text)
  redis.call('HSET', at_jr, text, record)
  local one = redis.call('ZADD', at_jp, number, text)
  -- Whoever is at work on the change of before has no claim to this one.
  redis.call('ZREM', at_jc, text)
  redis.call('HSET', at_jm, 'n', number)
  redis.call('SET', at_jn, number)
  redis.call('HINCRBY', at_jm, 'b', more)
  redis.call('PERSIST', v)
  return one, more
end

-- Entry `was` of key v has other times now, as `whole`. Whether its change waits, which then has
-- them, too: with the fence of its set, and a number of its own, so that the one of before is not
-- the last that is written. A user that may keep no journal has none.
local function relived(text, v, was, whole)
  if type(redis.pcall('ZSCORE', at_jp, text)) ~= 'string' then return false end
  local record = redis.call('HGET', at_jr, text) or ''
  local _, ends, fence = string.find(record, '^%d+ (%-?%d+)\n')
  if not ends or string.sub(record, ends + 36) ~= string.sub(was, 36) then return false end
  note(text, v, fence, whole)
  return true
end
"""
)
