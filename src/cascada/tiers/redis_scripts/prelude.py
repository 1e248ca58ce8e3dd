"""What all scripts of the Redis tier begin with: the epoch, the rings of names, stamps, counts."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from cascada.tiers.contract import NotPermitted
from cascada.tiers.redis_client.replies import Argument, Fits

Ask = Callable[..., Awaitable[Any]]
"""What sends a command on some connection, and gives its reply."""


class Script:
    """A script and the name that the server knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode()).hexdigest()

    async def run(
        self, ask: Ask, keys: Sequence[Argument], arguments: Sequence[Argument], fits: Fits
    ) -> Any:
        """Run it once, and never again: TierUnavailable says that nobody knows whether it was
        carried out. A server that does not know it yet has not run it."""
        what = len(keys), *keys, *arguments
        try:
            return await ask(b"EVALSHA", self.digest, *what, fits=fits)
        except NotPermitted as error:
            if ": NOSCRIPT" not in str(error):
                raise
        return await ask(b"EVAL", self.text, *what, fits=fits)


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

-- How many were sent it; -1 if this user may not publish: then others learn it from q, in e.
local function publish(channel, message)
  local receivers = redis.pcall('PUBLISH', channel, message)
  if type(receivers) == 'number' then return receivers end
  return -1
end
"""

ROOM: Final = r"""
-- What the namespace's entries take together (`room`), and by how much this script changes
-- it. `capacity` 0: it is not bounded.
local room = {
  key = string.sub(KEYS[1], 1, -2) .. 'm', more = 0, less = 0, entries = 0, capacity = 0,
}

local function account()
  if not room.known then
    local used, grown, entries, due =
      string.match(get(room.key) or '', '^(%d+) (%d+) (%d+) (%d+)$')
    room.used, room.grown = tonumber(used or 0), tonumber(grown or 0)
    room.count, room.due, room.known = tonumber(entries or 0), tonumber(due or 0), true
  end
  return room
end

-- The allocator's classes: four from each power of two to the next, and no less than 16 bytes.
local function class(n)
  local _, power = math.frexp(n - 1)
  local step = power < 8 and 16 or 2 ^ (power - 3)
  return math.ceil(n / step) * step
end

-- What a string takes with all that Redis keeps of it: its key, two places in tables, an object.
local function bytes_of(key, value)
  return 112 + class(key + 4) + class(value + (value < 256 and 4 or value < 65536 and 6 or 10))
end

local function taken(key)
  local length = redis.pcall('STRLEN', key)
  return type(length) == 'number' and length > 0 and bytes_of(#key, length) or 0
end

-- Where something is to lie beside an entry, its length in decimal keeps the place until it comes
-- (`room`, RESERVE). So a count meets the one or the other there, whenever it walks past.
local function reserved(key)
  local length = redis.pcall('STRLEN', key)
  return type(length) == 'number' and length < 16 and string.match(get(key) or '', '^%d+$')
end

local function taken_aside(key)
  local size = reserved(key)
  return size and bytes_of(#key, tonumber(size)) or taken(key)
end

local function gains(bytes, entries)
  room.more, room.entries = room.more + bytes, room.entries + (entries or 0)
end

-- Said before the key is removed, or another value takes its place.
local function loses(key, entries)
  local bytes = taken(key)
  if bytes > 0 then room.less, room.entries = room.less + bytes, room.entries - (entries or 0) end
  return bytes
end

local function loses_aside(key)
  room.less = room.less + taken_aside(key)
end

-- Whether an entry with these flags may have so many more bytes. LOW ones are refused first, then
-- those of which nothing else was said. What does not grow may stay for as long as there is room.
local function has_room(flags, more)
  if room.capacity == 0 then return true end
  local priority, most = math.floor(flags / 64), room.capacity
  if priority == 3 then most = most * 7 / 8 elseif priority == 0 then most = most * 15 / 16 end
  local after = account().used + room.more - room.less + more
  return after <= most or (more <= 0 and after <= room.capacity)
end

-- In the place of a generation's nonce that was not drawn, for want of room.
local UNDRAWN = string.rep('\0', 8)

-- Whether nothing at all has room any more: then no generation is drawn either.
local function is_full()
  return room.capacity > 0 and account().used + room.more - room.less > room.capacity
end

-- Write what has changed. If it cannot be, memory is full, and a recount will tell.
local function keep_account()
  if room.more == 0 and room.less == 0 and not room.changed then return end
  local was = account()
  was.used = math.max(0, was.used + room.more - room.less)
  was.grown, was.count = was.grown + room.more, math.max(0, was.count + room.entries)
  redis.pcall('SET', room.key,
    string.format('%d %d %d %d', was.used, was.grown, was.count, was.due))
  room.more, room.less, room.entries = 0, 0, 0
end
"""
"""How much room entries take. Needs `COMMON` before it; `COUNTS` needs it."""

COUNTS: Final = r"""
-- The names of a key that have a generation, in the order of its stamps (model/names.py). Those of
-- keys without a context are those of their type: they are the same table.
local of_types = {}
local function static_names(text)
  local place = string.match(text, '^([^:]+:[^:]+):[^:]+$')
  if place and not of_types[place] then
    of_types[place] = {'t:' .. string.match(place, '^[^:]+'), 'y:' .. place}
  end
  if place then return of_types[place] end
  local segments = {}
  for segment in string.gmatch(text, '[^:]+') do segments[#segments + 1] = segment end
  local tenant, data_type, id = segments[1], segments[2], segments[#segments]
  local names = {'t:' .. tenant, 'y:' .. tenant .. ':' .. data_type}
  local resource = tenant .. ':' .. data_type .. ':' .. id
  for i = 3, #segments - 1, 2 do
    local part = ':' .. segments[i] .. ':' .. segments[i + 1]
    names[#names + 1] = 'p:' .. tenant .. part
    names[#names + 1] = 'q:' .. tenant .. ':' .. data_type .. part
  end
  if #segments > 3 then names[#names + 1] = 'r:' .. resource end
  if #segments > 5 then
    for i = 3, #segments - 1, 2 do
      names[#names + 1] = 's:' .. resource .. ':' .. segments[i] .. ':' .. segments[i + 1]
    end
  end
  return names
end

-- What a generation has counted: entries that are what the name says, and those made from it.
local function counted(g)
  local own, made = string.match(g, '^(%d+):(%d+)', 9)
  return tonumber(own or 0), tonumber(made or 0)
end

-- What the counts of generations are to change by, by the generations' keys: {nonce, own, made}.
local changes = {}

local function change(key, nonce, own, made)
  local by = changes[key]
  if not by or by[1] ~= nonce then
    by = {nonce, 0, 0}
    changes[key] = by
  end
  by[2], by[3] = by[2] + own, by[3] + made
end

-- The digest by which entry v, or what it has behind its stamps, refers to its payload.
local function digest_in(v)
  return string.sub(v, -41, -10)
end

-- The key of the payload that lies beside an entry of this text.
local function beside(text, digest)
  return string.sub(KEYS[1], 1, -2) .. 'b:' .. text .. ':' .. digest
end

-- The nonces of static names' generations: many keys of one call share them.
local nonces_of = {}
local function nonce_at(key)
  if nonces_of[key] == nil then
    local g = get(key)
    nonces_of[key] = g and string.sub(g, 1, 8)
  end
  return nonces_of[key]
end

-- Take entry v, of the key with this text, out of what counts it: the generations whose nonces it
-- bears, though others may have ended it long ago. v may be any bytes; it need not be whole. What
-- lies beside it (`large_payloads`) goes, unless the entry that comes in its place refers to it,
-- too, or would have (`after` is what that has behind its stamps).
local function uncount(v, text, after)
  if not v or #v < 50 or string.sub(v, 1, 3) ~= '\202\218\001' then return end
  local stamps = string.byte(v, 47) + 256 * string.byte(v, 48)
  local late = string.byte(v, 49) + 256 * string.byte(v, 50)
  local names = static_names(text)
  local static = #names
  if stamps ~= 1 + static + late then return end
  local at = 51 + 8 * stamps
  local dynamic = {}
  for i = 1, late do
    if at + 1 > #v then return end
    local length = string.byte(v, at) + 256 * string.byte(v, at + 1)
    if at + 1 + length > #v then return end
    dynamic[i] = string.sub(v, at + 2, at + 1 + length)
    at = at + 2 + length
  end
  if string.byte(v, 36) == 6 and not (after and digest_in(after) == digest_in(v)) then
    local payload = beside(text, digest_in(v))
    loses_aside(payload)
    redis.call('UNLINK', payload)
  end
  local prefix = string.sub(KEYS[1], 1, -2) .. 'g:'
  local tenant, data_type = string.match(text, '^([^:]+):([^:]+)')
  local of_type = 'q:' .. tenant .. ':' .. data_type .. ':'
  for place = 1, static do
    local stamp, key = string.sub(v, 51 + 8 * place, 58 + 8 * place), prefix .. names[place]
    if nonce_at(key) == stamp then change(key, stamp, -1, 0) end
  end
  for first = 1, late, 1000 do
    local keys = {}
    for i = first, math.min(first + 999, late) do keys[#keys + 1] = prefix .. dynamic[i] end
    for i, g in ipairs(redis.call('MGET', unpack(keys))) do
      local name, place = dynamic[first + i - 1], static + first + i - 1
      local stamp = string.sub(v, 51 + 8 * place, 58 + 8 * place)
      if g and string.sub(g, 1, 8) == stamp then
        local own = string.sub(name, 1, 2) == 'p:' or string.sub(name, 1, #of_type) == of_type
        change(keys[i], stamp, own and -1 or 0, own and 0 or -1)
      end
    end
  end
end

-- What stands before an entry's payload, or all, for `uncount`.
local function head(key)
  local v = redis.pcall('GETRANGE', key, 0, 4095)
  if type(v) ~= 'string' then return false end
  return #v == 4096 and string.sub(v, 49, 50) ~= '\0\0' and get(key) or v
end

-- By how much the sum that generation g counts is to change.
local function changed(key, g)
  local by = changes[key]
  return by and string.sub(g, 1, 8) == by[1] and by[2] + by[3] or 0
end

local function write_counts()
  for key, by in pairs(changes) do
    local g = (by[2] ~= 0 or by[3] ~= 0) and get(key)
    if g and string.sub(g, 1, 8) == by[1] then
      local own, made = counted(g)
      own, made = math.max(own + by[2], 0), math.max(made + by[3], 0)
      redis.call('SET', key, by[1] .. string.format('%d:%d', own, made), 'KEEPTTL')
    end
  end
end
"""
"""How many entries bear a name: kept in its generation, for answers to callers. No rule of
coherence leans on it. Needs `COMMON` before it."""
