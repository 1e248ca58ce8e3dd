"""The protocol's steps that must be atomic, as Lua scripts, each with its reasons.

They need Redis 6.2 (no FUNCTION, no shebang line: with one, a script is refused as a whole when
memory is full, and INV must still unlink). Nonces are drawn by the client and mixed with TIME, so
that a script that is sent twice cannot bring an old nonce back. Names without a generation yet get
one when a lease is granted; a read never writes.

The script that stores is in `fill`.

Common to all: KEYS 1 = e, 2 = ring of names, 3 = ring of keys.
"""

from __future__ import annotations

from typing import Final

from cascada.tiers.redis_scripts.journaled import LAST_OF_ALL
from cascada.tiers.redis_scripts.prelude import COMMON, COUNTS, ROOM, Script

BEGIN: Final = Script(
    COMMON
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
    COMMON
    + ROOM
    + r"""
-- KEYS: 4.. = the generations of the static names, each once; then for each key v, l, w.
-- ARGV: 1 run_id, 2 layout, 3 seed, 4 force, 5 lease in ms, 6 prefix of generations, 7 number of
--   generations, 8 capacity, 9.. = their names; then for each key: the mark of the entry that was
--   seen (8 bytes of its header, or empty), fence nonce or empty, fence q, the key's name, its
--   token, the number of its generations and their places among them, in the order of the stamps.
-- The token of a set is a digest of what it stores: crossing sets of equal values share one lease.
local e, q = epoch(ARGV[1], ARGV[2], ARGV[3])
if tonumber(string.sub(e, 49, 52)) > tonumber(ARGV[2]) then return {'LAYOUT'} end
local names_low, keys_low = low(KEYS[2], q), low(KEYS[3], q)
local force, count = ARGV[4] == '1', tonumber(ARGV[7])
room.capacity = tonumber(ARGV[8])
local nonces = {}
for i = 1, count do
  local g = get(KEYS[3 + i])
  if not g and is_full() then
    g = UNDRAWN -- what is brought under this lease finds no room either
  elseif not g then
    g = nonce(ARGV[3])
    redis.call('SET', KEYS[3 + i], g .. '0:0', 'PX', 3600000)
    gains(bytes_of(#KEYS[3 + i], 11))
  end
  nonces[i] = string.sub(g, 1, 8)
end

-- What follows was read after a miss that saw (nonce, q): it is void if anything named the key
-- since, or if nobody can tell any more.
local function fenced(at)
  if ARGV[at + 1] == '' then return false end
  local since = tonumber(ARGV[at + 2])
  if ARGV[at + 1] ~= string.sub(e, 1, 8) or names_low > since or keys_low > since
      or named_since(KEYS[3], ARGV[at + 3], since) then
    return true
  end
  for i = at + 6, at + 5 + ARGV[at + 5] do
    if named_since(KEYS[2], ARGV[8 + ARGV[i]], since) then return true end
  end
  return false
end

local function grant(at, v, l, w)
  if fenced(at) then return {'FENCED', ''} end
  local stamps = {string.sub(e, 1, 8)}
  for i = at + 6, at + 5 + ARGV[at + 5] do stamps[#stamps + 1] = nonces[tonumber(ARGV[i])] end
  local granted = table.concat(stamps)
  if not force then
    -- Stored since it was read. Its dynamic names are compared as well: an entry that a tag has
    -- killed must not be handed out as news for ever.
    local found = get(v)
    if found and string.sub(found, 4, 11) ~= ARGV[at] and bears(found, granted, ARGV[6]) then
      return {'FOUND', found}
    end
    local held = get(l)
    if held and string.sub(held, 17) == granted then
      local left = redis.call('PTTL', l)
      redis.call('SET', w, '1', 'PX', math.max(left, 1))
      return {'BUSY', left}
    end
  end
  redis.call('SET', l, ARGV[at + 4] .. granted, 'PX', ARGV[5])
  return {'LEASE', granted}
end

local answers = {}
local at, key = 9 + count, 4 + count
while at <= #ARGV do
  answers[#answers + 1] = grant(at, KEYS[key], KEYS[key + 1], KEYS[key + 2])
  at = at + 6 + ARGV[at + 5]
  key = key + 3
end
keep_account()
return {'OK', q, string.sub(e, 1, 8), answers}
"""
)

RENEW: Final = Script(
    r"""
-- KEYS: leases. ARGV: 1 life in ms, 2.. = their values.
local kept = 0
for i = 1, #KEYS do
  if redis.pcall('GET', KEYS[i]) == ARGV[i + 1] then
    kept = kept + redis.call('PEXPIRE', KEYS[i], ARGV[1])
  end
end
return kept
"""
)

RELEASE: Final = Script(
    COMMON
    + r"""
-- KEYS: for each key l, w. ARGV: 1 token, 2 channel, 3.. = the keys' texts.
for i = 3, #ARGV do
  local l, w = KEYS[2 * i - 5], KEYS[2 * i - 4]
  if string.sub(get(l) or '', 1, 16) == ARGV[1] then
    redis.call('DEL', l)
    if redis.call('DEL', w) == 1 then publish(ARGV[2], 'w' .. ARGV[i]) end
  end
end
"""
)

ENDED: Final = Script(
    r"""
-- KEYS: 2, 3 the rings, 4 their times. ARGV: names. The place of the one that was invalidated last,
-- and how many milliseconds ago; 0 if that was a set, or nobody knows.
local place, latest = 0, 0
for i, name in ipairs(ARGV) do
  local score = redis.call('ZSCORE', string.sub(name, 1, 2) == 'k:' and KEYS[3] or KEYS[2], name)
  if score and tonumber(score) > latest then place, latest = i, tonumber(score) end
end
local when = redis.call('ZRANGEBYSCORE', KEYS[4], latest, latest)[1]
if not when then return {0, 0} end
local seconds, micros = string.match(when, '^(%d+).(%d+)')
local now = redis.call('TIME')
return {place, math.floor((now[1] - seconds) * 1000 + (now[2] - micros) / 1000)}
"""
)

INVALIDATE: Final = Script(
    COMMON
    + ROOM
    + COUNTS
    + LAST_OF_ALL
    + r"""
-- KEYS: 4.. = for each named key v and l, then the generations of all names, keys' own first.
-- ARGV: 1 run_id, 2 layout, 3 seed, 4 channel, 5 number of keys, 6 'i', or 's' to have it
--   acknowledged, 7 prefix of generations, 8.. = all names, keys first.
-- It returns for each name that reached something its place, how many entries it says what they
-- are, and how many were made from what it names; then the sum, where what goes by its key is not
-- counted for its groups again; then, if somebody is forgotten, the last number in all journals.
local keys, count = tonumber(ARGV[5]), #ARGV - 7

-- A cascade may have thousands of names: what can be asked together is asked together.
local function in_chunks(from, to, work)
  for first = from, to, 1000 do work(first, math.min(first + 999, to)) end
end

-- Counted before anything goes: an entry that was dead already is not one that went now.
local own, made, reached, total = {}, {}, {}, 0
local before = get(KEYS[1])
if before and string.sub(before, 9, 48) == ARGV[1] then
  local nonces = {}
  for i = 1, keys do
    local v = get(KEYS[2 + 2 * i])
    if v then
      local stamps = {string.sub(before, 1, 8)}
      for _, name in ipairs(static_names(string.sub(ARGV[7 + i], 3))) do
        if not nonces[name] then
          local g = get(ARGV[7] .. name)
          nonces[name] = g and string.sub(g, 1, 8) or 'missing'
        end
        stamps[#stamps + 1] = nonces[name]
      end
      if bears(v, table.concat(stamps), ARGV[7]) then
        own[i], made[i], total = 1, 0, total + 1
      end
      uncount(v, string.sub(ARGV[7 + i], 3))
      loses(KEYS[2 + 2 * i], 1)
    end
  end
end
-- UNLINK comes first, of what is not there as well: when memory is full, writes are refused if the
-- first one needs more.
in_chunks(4, 3 + 2 * keys, function(first, last)
  redis.call('UNLINK', unpack(KEYS, first, last))
end)
in_chunks(4 + 2 * keys, #KEYS, function(first, last)
  for i, g in ipairs(redis.call('MGET', unpack(KEYS, first, last))) do
    if g then
      local at = first + i - 4 - 2 * keys
      local says, from = counted(g)
      own[at], made[at] = (own[at] or 0) + says, from
      total = total + math.max(0, says + from + changed(KEYS[first + i - 1], g))
      loses(KEYS[first + i - 1])
    end
  end
  redis.call('UNLINK', unpack(KEYS, first, last))
end)
write_counts()
for at, number in pairs(own) do
  reached[#reached + 1] = at
  reached[#reached + 1] = number
  reached[#reached + 1] = made[at]
end
local e, q = epoch(ARGV[1], ARGV[2], ARGV[3])
q = q + 1
local written = redis.pcall('SET', KEYS[1], string.sub(e, 1, 52) .. string.format('%d', q))
if type(written) == 'table' and written.err then
  -- Without room for the new number the old one must go: no read may see a q that lacks this.
  redis.call('UNLINK', KEYS[1])
  return redis.error_reply(written.err)
end
keep_account()
in_chunks(1, keys, function(first, last) remember(KEYS[3], q, ARGV, 7 + first, 7 + last) end)
in_chunks(keys + 1, count, function(first, last)
  remember(KEYS[2], q, ARGV, 7 + first, 7 + last)
end)
date(q)
local said = ARGV[6] .. string.sub(e, 1, 8) .. string.format('%d', q) .. '\n'
local receivers = publish(ARGV[4], said .. table.concat(ARGV, '\n', 8))
local journaled = 0
for i = 8 + keys, #ARGV do
  if journaled == 0 and string.sub(ARGV[i], 1, 2) == 'f:' then
    journaled = math.max(last_of_all(), time[1] * 1000000 + time[2])
    redis.call('SET', at_jn, string.format('%.0f', journaled))
  end
end
return {q, receivers, string.sub(e, 1, 8), reached, total, journaled}
"""
)
