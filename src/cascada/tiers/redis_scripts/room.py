"""How much room a namespace's entries take in Redis: the scripts' part.

`m` holds what all processes know of it, in decimal: bytes, all growth there ever was, entries, and
the millisecond from which on they may be counted anew (0: they never were). Each script that stores
or removes something changes it in the same step. What goes by itself (it expires, the server evicts
it, it was flushed) no script sees: RECOUNT finds out, in short steps.

What is counted is all that entries bring with them: the envelopes, payloads beside them, greatest
versions, generations. Leases are not: they are few, and end within seconds.
"""

from __future__ import annotations

from typing import Final

from cascada.tiers.redis_scripts.prelude import COMMON, COUNTS, ROOM, Script

LEAST: Final = 1000
"""Milliseconds between two counts, at least: else four times as long as the last one has taken."""

TAKEN: Final = 10_000
"""Milliseconds after which a count that nobody goes on with is begun anew by another."""

RECOUNT: Final = Script(
    COMMON
    + ROOM
    + COUNTS
    + rf"""
-- KEYS: 1 e. ARGV: 1 a token of the process that counts, 2 run_id, 3 layout, 4 what all keys of the
--   namespace match, 5 prefix of generations, 6 keys of one step.
-- It returns 0 if there is more to count, 1 if this was the last step, 2 if another process counts,
-- 3 if it is too early; and the bytes.
local now = 1000 * time[1] + math.floor(time[2] / 1000)
local before = account()
local place = room.key .. 'r'
local token, cursor, bytes, entries, grown, began =
  string.match(get(place) or '', '^(%S+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
if token and token ~= ARGV[1] then return {{2, before.used}} end
if not token then
  -- A time that is far away was written by a clock that has been set back since.
  if before.due > now and before.due < now + 3600000 then return {{3, before.used}} end
  cursor, bytes, entries, grown, began = '0', 0, 0, before.grown, now
end
local prefix = string.sub(KEYS[1], 1, -2)
local e = get(KEYS[1])
local mine = e and string.sub(e, 9, 48) == ARGV[2] and string.sub(e, 49, 52) == ARGV[3]
  and string.sub(e, 1, 8)

-- What a group's invalidation has ended lies here until it expires, and is never valid again: its
-- stamps do not come back. Another layout's entries are not ours to judge.
local function ended(v, text)
  if not v or string.sub(v, 1, 3) ~= '\202\218\001' then return false end
  local stamps = {{mine}}
  for _, name in ipairs(static_names(text)) do
    stamps[#stamps + 1] = nonce_at(ARGV[5] .. name) or ''
  end
  if bears(v, table.concat(stamps), ARGV[5]) then return false end
  uncount(v, text)
  return true
end

local said = redis.call('SCAN', cursor, 'MATCH', ARGV[4], 'COUNT', ARGV[6])
for _, key in ipairs(said[2]) do
  local kind = string.sub(key, #prefix + 1, #prefix + 2)
  if kind == 'v:' then
    -- A key of another hand may have any text, at which these raise.
    local legible, gone = pcall(ended, mine and head(key), string.sub(key, #prefix + 3))
    if legible and gone then
      loses(key, 1)
      redis.call('UNLINK', key)
    else
      bytes, entries = bytes + taken(key), entries + 1
    end
  elseif kind == 'g:' or kind == 'b:' or kind == 'n:' then
    bytes = bytes + (kind == 'b:' and taken_aside or taken)(key)
  end
end
write_counts()
if said[1] ~= '0' then
  redis.call('SET', place, string.format('%s %s %d %d %d %d', ARGV[1], said[1], bytes, entries,
    grown, began), 'PX', {TAKEN})
  keep_account()
  return {{0, before.used}}
end
-- What was stored meanwhile may have been met, or not. It is taken for not met: the bound holds.
-- If less has grown than before, the account was lost meanwhile, and that has all grown since.
local since = before.grown - grown
before.used, before.count = bytes + (since < 0 and before.grown or since), entries
before.due = now + math.max({LEAST}, 4 * (now - began))
room.more, room.less, room.entries, room.changed = 0, 0, 0, true
keep_account()
redis.call('DEL', place)
return {{1, before.used}}
"""
)

RESERVE: Final = Script(
    COMMON
    + ROOM
    + r"""
-- KEYS: 1 e, 2 where a payload is to lie. ARGV: 1 capacity, 2 its entry's flags, 3 its bytes.
-- It returns 1 if there is room, which it has from then on: what keeps its place is met by a count
-- that walks past before the payload comes, and goes by itself if that never does.
room.capacity = tonumber(ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
local size = bytes_of(#KEYS[2], tonumber(ARGV[3]))
if not has_room(tonumber(ARGV[2]), size) then return 0 end
gains(size)
redis.call('SET', KEYS[2], ARGV[3], 'PX', 60000)
keep_account()
return 1
"""
)
