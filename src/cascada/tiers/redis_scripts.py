"""The protocol's steps that must be atomic, as Lua scripts, each with its reasons.

They need Redis 6.2 (no FUNCTION, no shebang line: with one, a script is refused as a whole when
memory is full, and INV must still unlink). Nonces are drawn by the client and mixed with TIME, so
that a script that is sent twice cannot bring an old nonce back. Names without a generation yet get
one when a lease is granted; a read never writes.

Common to all: KEYS 1 = e, 2 = ring of names, 3 = ring of keys.
"""

from __future__ import annotations

import hashlib
from typing import Final


class Script:
    """A script and the name that the server knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode()).hexdigest()


_COMMON: Final = r"""
local time = redis.call('TIME')
local drawn = 0
local function nonce(seed)
  drawn = drawn + 1
  local hex = redis.sha1hex(seed .. time[1] .. ':' .. time[2] .. ':' .. drawn)
  local bytes = {}
  for i = 1, 8 do bytes[i] = string.char(tonumber(string.sub(hex, 2 * i - 1, 2 * i), 16)) end
  return table.concat(bytes)
end

-- The epoch names the server process: a snapshot that came back under another run_id is another
-- epoch, and so is an e that was lost. Its ring begins empty: it knows nothing of before. What an
-- older layout has written is left behind in the same way; a newer one stays, for its own to use.
local function epoch(run_id, layout, seed, anew)
  local e = redis.call('GET', KEYS[1])
  if e and not anew and string.sub(e, 9, 48) == run_id
      and tonumber(string.sub(e, 49, 52)) >= tonumber(layout) then
    return e, tonumber(string.sub(e, 53))
  end
  e = nonce(seed) .. run_id .. layout .. '0'
  redis.call('SET', KEYS[1], e)
  redis.call('DEL', KEYS[2], KEYS[3])
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

local function remember(ring, name, q)
  low(ring, q - 1)
  redis.call('ZADD', ring, q, name)
  local count = redis.call('ZCARD', ring)
  if count > 4096 + 256 then
    local cut = redis.call('ZRANGE', ring, 256, 256, 'WITHSCORES')
    redis.call('ZREMRANGEBYSCORE', ring, '-inf', '(' .. cut[2])
    redis.call('ZADD', ring, cut[2] - 1, '')
  end
end

-- Whether `name` was invalidated after q, as far as the ring can still tell.
local function named_since(ring, name, q)
  local score = redis.call('ZSCORE', ring, name)
  return score and tonumber(score) > q
end

-- Whether the entry v bears these stamps, and those that its dynamic names have now.
local function bears(v, stamps, prefix)
  if not v or #v <= 45 or string.sub(v, 46, 45 + #stamps) ~= stamps then return false end
  local at = 46 + 8 * string.byte(v, 43)
  local stamp = 46 + #stamps
  for _ = 1, string.byte(v, 44) + 256 * string.byte(v, 45) do
    local length = string.byte(v, at) + 256 * string.byte(v, at + 1)
    local g = redis.call('GET', prefix .. string.sub(v, at + 2, at + 1 + length))
    if not g or string.sub(g, 1, 8) ~= string.sub(v, stamp, stamp + 7) then return false end
    at = at + 2 + length
    stamp = stamp + 8
  end
  return true
end

-- What a generation has counted: entries that are what the name says, and those made from it.
local function counted(g)
  local own, made = string.match(g, '^(%d+):(%d+)', 9)
  return tonumber(own), tonumber(made)
end

-- How many were sent it; -1 if this user may not publish: then others learn it from q, in e.
local function publish(channel, message)
  local receivers = redis.pcall('PUBLISH', channel, message)
  if type(receivers) == 'number' then return receivers end
  return -1
end
"""

BEGIN: Final = Script(
    _COMMON
    + r"""
-- ARGV: 1 run_id, 2 layout, 3 seed, 4 '1': a new epoch whatever is there. Sent once on every new
-- connection, so that the first miss already knows an epoch to be fenced by.
local e, q = epoch(ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1')
low(KEYS[2], q)
low(KEYS[3], q)
return e
"""
)

ACQUIRE: Final = Script(
    _COMMON
    + r"""
-- KEYS: 4 = v, 5 = l, 6 = w, 7.. = generations of the static names, in the order of the stamps.
-- ARGV: 1 token, 2 run_id, 3 layout, 4 seed, 5 force, 6 created of the entry that was seen (8 bytes
--   of its header, or empty), 7 lease in ms, 8 fence nonce or empty, 9 fence q, 10 prefix of
--   generations, 11.. = the names of the key (12 and on: of KEYS 7..), for the fence.
local e, q = epoch(ARGV[2], ARGV[3], ARGV[4])
if tonumber(string.sub(e, 49, 52)) > tonumber(ARGV[3]) then return {'LAYOUT'} end
local force = ARGV[5] == '1'
if ARGV[8] ~= '' then
  -- What follows was read after a miss that saw (nonce, q): it is void if anything named the key
  -- since, or if nobody can tell any more.
  local since = tonumber(ARGV[9])
  if ARGV[8] ~= string.sub(e, 1, 8) or low(KEYS[2], q) > since or low(KEYS[3], q) > since then
    return {'FENCED', q}
  end
  if named_since(KEYS[3], ARGV[11], since) then return {'FENCED', q} end
  for i = 12, #ARGV do
    if named_since(KEYS[2], ARGV[i], since) then return {'FENCED', q} end
  end
end
low(KEYS[2], q)
low(KEYS[3], q)
local stamps = {string.sub(e, 1, 8)}
for i = 7, #KEYS do
  local g = redis.call('GET', KEYS[i])
  if not g then
    g = nonce(ARGV[4])
    redis.call('SET', KEYS[i], g .. '0:0', 'PX', 3600000)
  end
  stamps[#stamps + 1] = string.sub(g, 1, 8)
end
local granted = table.concat(stamps)
if not force then
  -- Stored since it was read. Its dynamic names are compared as well: an entry that a tag has
  -- killed must not be handed out as news for ever.
  local v = redis.call('GET', KEYS[4])
  if v and string.sub(v, 11, 18) ~= ARGV[6] and bears(v, granted, ARGV[10]) then
    return {'FOUND', q, string.sub(e, 1, 8), v}
  end
  local l = redis.call('GET', KEYS[5])
  if l and string.sub(l, 17) == granted then
    local left = redis.call('PTTL', KEYS[5])
    redis.call('SET', KEYS[6], '1', 'PX', math.max(left, 1))
    return {'BUSY', left}
  end
end
redis.call('SET', KEYS[5], ARGV[1] .. granted, 'PX', ARGV[7])
return {'LEASE', q, granted}
"""
)

FILL: Final = Script(
    _COMMON
    + r"""
-- KEYS: 4 = v, 5 = l, 6 = w, 7 = the generation of what was made from the key, 8 = n,
--   9.. = the generations of its static names, then of the dynamic ones.
-- ARGV: 1 the lease's value, 2 q of the lease, 3 run_id, 4 seed, 5 number of static names,
--   6 the entry before its stamps, 7 after them, 8 its life in ms, 9 generations' life in ms,
--   10 set: the key's name, else empty, 11 store, 12 channel, 13 the key's text, 14 layout,
--   15 version or empty, 16 for each dynamic name '1' if it says what the entry is and '0' if it
--   says what it was made from, 17.. = the dynamic names.
local e = redis.call('GET', KEYS[1])
local q = 0
if e then q = tonumber(string.sub(e, 53)) end
local held = redis.call('GET', KEYS[5])
local accepted = held == ARGV[1] and e and string.sub(e, 9, 48) == ARGV[3]
local stamps = {}
if accepted then
  stamps[1] = string.sub(e, 1, 8)
  for i = 9, 8 + ARGV[5] do
    local g = redis.call('GET', KEYS[i])
    stamps[#stamps + 1] = g and string.sub(g, 1, 8) or ''
  end
  accepted = table.concat(stamps) == string.sub(ARGV[1], 17)
end
if accepted and #ARGV > 16 then
  -- Late names: the lease did not know them, so only the ring can tell what became of them.
  local since = tonumber(ARGV[2])
  accepted = redis.call('EXISTS', KEYS[2]) == 1 and low(KEYS[2], q) <= since
    and redis.call('EXISTS', KEYS[3]) == 1 and low(KEYS[3], q) <= since
  for i = 17, #ARGV do
    local ring = string.sub(ARGV[i], 1, 2) == 'k:' and KEYS[3] or KEYS[2]
    if accepted and named_since(ring, ARGV[i], since) then accepted = false end
  end
end
-- An older version than the greatest that was ever written brings nothing new: what is here stays.
local greatest = redis.call('GET', KEYS[8])
-- Refused or not, the lease has done its service; whoever waits for it need wait no longer.
local function release()
  if held == ARGV[1] then redis.call('DEL', KEYS[5]) end
  if (held == ARGV[1] or ARGV[10] ~= '') and redis.call('DEL', KEYS[6]) == 1 then
    publish(ARGV[12], 'w' .. ARGV[13])
  end
end
if ARGV[15] ~= '' and greatest and tonumber(ARGV[15]) < tonumber(greatest) then
  release()
  return {0, q, ''}
end
if ARGV[10] ~= '' then
  -- A set: whatever becomes of it, every other lease and every older value of the key is void.
  if not e or string.sub(e, 9, 48) ~= ARGV[3] then e, q = epoch(ARGV[3], ARGV[14], ARGV[4]) end
  q = q + 1
  redis.call('UNLINK', KEYS[4], KEYS[7])
  if not accepted then redis.call('UNLINK', KEYS[5]) end
  redis.call('SET', KEYS[1], string.sub(e, 1, 52) .. string.format('%d', q))
  remember(KEYS[3], ARGV[10], q)
  local number = string.format('%d', q)
  publish(ARGV[12], 'i' .. string.sub(e, 1, 8) .. number .. '\n' .. ARGV[10])
end
local now = e and string.sub(e, 1, 8) or ''
if ARGV[15] ~= '' and (accepted or ARGV[10] ~= '') then
  redis.call('SET', KEYS[8], ARGV[15], 'PX', math.max(tonumber(ARGV[8]), 2592000000))
end
release()
if not accepted then return {0, q, now} end
if ARGV[11] == '1' then
  local old = redis.call('GET', KEYS[4])
  for i = 9 + ARGV[5], #KEYS do
    local g = redis.call('GET', KEYS[i])
    if not g then g = nonce(ARGV[4]) .. '0:0' redis.call('SET', KEYS[i], g, 'PX', ARGV[9]) end
    stamps[#stamps + 1] = string.sub(g, 1, 8)
  end
  local stamped = table.concat(stamps)
  -- An old entry with these very stamps is counted under these generations already.
  local fresh = not old or string.sub(old, 46, 45 + #stamped) ~= stamped
  redis.call('SET', KEYS[4], ARGV[6] .. stamped .. ARGV[7], 'PX', ARGV[8])
  for i = 9, #KEYS do
    if fresh then
      local g = redis.call('GET', KEYS[i])
      local own, made = counted(g)
      local late = i - 8 - ARGV[5]
      if late > 0 and string.sub(ARGV[16], late, late) == '0' then
        made = made + 1
      else
        own = own + 1
      end
      local count = string.format('%d:%d', own, made)
      redis.call('SET', KEYS[i], string.sub(g, 1, 8) .. count, 'KEEPTTL')
    end
    -- A generation must outlive whatever bears it: else its next nonce would be the only thing
    -- that tells a dead entry from a live one. It is only ever lengthened.
    if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[9]) then
      redis.call('PEXPIRE', KEYS[i], ARGV[9])
    end
  end
end
return {1, q, now}
"""
)

RENEW: Final = Script(
    r"""
-- KEYS: leases. ARGV: 1 life in ms, 2.. = their values.
local kept = 0
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[i + 1] then
    kept = kept + redis.call('PEXPIRE', KEYS[i], ARGV[1])
  end
end
return kept
"""
)

INVALIDATE: Final = Script(
    _COMMON
    + r"""
-- KEYS: 4.. = for each named key v and l, then the generations of all names, keys' own first.
-- ARGV: 1 run_id, 2 layout, 3 seed, 4 channel, 5 number of keys, 6 'i', or 's' to have it
--   acknowledged, 7 prefix of generations, 8 number of names, 9.. = all names, keys first, then for
--   each key the number of its static names that have a generation, and these.
local keys, count = tonumber(ARGV[5]), tonumber(ARGV[8])
-- Counted before anything goes: an entry that was dead already is not one that went now.
local reached, gone = {}, {}
for i = 1, count do reached[2 * i - 1], reached[2 * i], gone[i] = 0, 0, 0 end
local before = redis.call('GET', KEYS[1])
if before and string.sub(before, 9, 48) == ARGV[1] then
  local at = 9 + count
  for i = 1, keys do
    local stamps = {string.sub(before, 1, 8)}
    for j = at + 1, at + ARGV[at] do
      local g = redis.call('GET', ARGV[7] .. ARGV[j])
      stamps[#stamps + 1] = g and string.sub(g, 1, 8) or 'missing'
    end
    at = at + 1 + ARGV[at]
    local v = redis.call('GET', KEYS[2 + 2 * i])
    if v and bears(v, table.concat(stamps), ARGV[7]) then gone[i] = 1 end
  end
end
-- UNLINK comes first: when memory is full, writes are refused from the first one that needs more.
for i = 1, keys do redis.call('UNLINK', KEYS[2 + 2 * i], KEYS[3 + 2 * i]) end
local first = 4 + 2 * keys
for i = first, #KEYS do
  local g = redis.call('GET', KEYS[i])
  local at = 2 * (i - first) + 1
  if g then
    reached[at], reached[at + 1] = counted(g)
    redis.call('UNLINK', KEYS[i])
  end
  reached[at] = reached[at] + gone[i - first + 1]
end
local e, q = epoch(ARGV[1], ARGV[2], ARGV[3])
q = q + 1
local written = redis.pcall('SET', KEYS[1], string.sub(e, 1, 52) .. string.format('%d', q))
if type(written) == 'table' and written.err then
  -- Without room for the new number the old one must go: no read may see a q that lacks this.
  redis.call('UNLINK', KEYS[1])
  return redis.error_reply(written.err)
end
local names = {}
for i = 1, count do
  names[i] = ARGV[8 + i]
  remember(i <= keys and KEYS[3] or KEYS[2], names[i], q)
end
local said = ARGV[6] .. string.sub(e, 1, 8) .. string.format('%d', q) .. '\n'
local receivers = publish(ARGV[4], said .. table.concat(names, '\n'))
return {q, receivers, string.sub(e, 1, 8), reached}
"""
)
