"""Removing what the server holds of a tenant or a user: keys, names in the rings, changes.

Who runs them has invalidated all of it before: what is removed here is void, or data. What was set
since stands, and what it bears: then a generation goes only if no entry counts for it.
"""

from __future__ import annotations

from typing import Final

from cascada.tiers.redis_scripts.journaled import OF_LAST_KEY, PLACES
from cascada.tiers.redis_scripts.prelude import COMMON, COUNTS, ROOM, Script

_WHOM: Final = r"""
-- ARGV: 1 the tenant, 2 the user's context part or '', both as keys have them.
local tenant, user = ARGV[1], ARGV[2]
local begins = tenant .. ':'

local function segments(text)
  local found = {}
  for segment in string.gmatch(text, '[^:]+') do found[#found + 1] = segment end
  return found
end

-- Whether this is the text of a key of his; `behind`: of what stands behind it in a larger one.
local function has_key(text, behind)
  if string.sub(text, 1, #begins) ~= begins then return false end
  if user == '' then return true end
  local at = segments(text)
  for i = 3, #at - 2 - behind, 2 do
    if at[i] == 'coll' and at[i + 1] == user then return true end
  end
  return false
end

local place_of = {f = 2, p = 2, q = 3, s = 4}

-- Whether a name says something of him alone.
local function is_named(name)
  local kind, rest = string.match(name, '^([^:]+):(.*)$')
  if not kind then return false end
  if rest == tenant then return user == '' end
  if string.sub(rest, 1, #begins) ~= begins then return false end
  if user == '' then return true end
  if kind == 'k' or kind == 'e' then return has_key(rest, 0) end
  local at, place = segments(rest), place_of[kind]
  return place and #at == place + 1 and at[place] == 'coll' and at[place + 1] == user
end
"""

KEYS: Final = Script(
    COMMON
    + ROOM
    + COUNTS
    + _WHOM
    + r"""
-- KEYS: 1 e. ARGV: 3 cursor, 4 how many keys, 5 what all of the namespace match, 6 run_id, 7
-- layout, 8 prefix of generations, 9 the name that all of it bears. The next cursor, entries,
-- bytes, lists, counters, others, and how many of his generations stay.
local prefix = string.sub(KEYS[1], 1, -2)
local e = get(KEYS[1])
local mine = e and string.sub(e, 9, 48) == ARGV[6] and string.sub(e, 49, 52) == ARGV[7]
  and string.sub(e, 1, 8)
-- Nothing of his is valid before his name has a generation again.
local anew = mine and get(ARGV[8] .. ARGV[9])
-- Generations that may be borne by what is valid: of resources of which others of the tenant may
-- have something, too, and his own.
local emptied, own_names, left = {}, {}, 0
local went = {entries = 0, bytes = 0, lists = 0, counters = 0, others = 0}

local function is_entry(v)
  return mine and v and string.sub(v, 1, 3) == '\202\218\001'
end

local function stands(v, text)
  local stamps = {mine}
  for _, name in ipairs(static_names(text)) do
    stamps[#stamps + 1] = nonce_at(ARGV[8] .. name) or ''
  end
  return bears(v, table.concat(stamps), ARGV[8])
end

-- The entry there, if it is legible, and whether it is valid. A key of another hand may have any
-- text, at which these raise.
local function entry_at(key, text)
  local legible, v = pcall(head, key)
  if not legible or not is_entry(v) then return false, false end
  local known, valid = pcall(stands, v, text)
  return known and v, known and valid
end

local function is_set_since(text)
  if not anew then return false end
  local _, valid = entry_at(prefix .. 'v:' .. text, text)
  return valid
end

local function length(key)
  local bytes = redis.pcall('STRLEN', key)
  return type(bytes) == 'number' and bytes or 0
end

local function remove_entry(key, text)
  -- Of all of a tenant who is not back, what counts his entries goes as well.
  if user ~= '' or anew then
    local v, valid = entry_at(key, text)
    -- What any invalidation has ended: the user's may bear his name without having it in its key.
    if has_key(text, 0) then
      if anew and valid then return end
    elseif valid or not v then
      return
    end
    pcall(uncount, v, text)
    local at = segments(text)
    if #at > 2 then
      emptied[ARGV[8] .. 'r:' .. at[1] .. ':' .. at[2] .. ':' .. at[#at]] = true
    end
  end
  went.entries, went.bytes = went.entries + 1, went.bytes + length(key)
  loses(key, 1)
  redis.call('UNLINK', key)
end

local function remove(key, what, bytes)
  went[what], went.bytes = went[what] + 1, went.bytes + bytes
  redis.call('UNLINK', key)
end

local said = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[5], 'COUNT', ARGV[4])
for _, key in ipairs(said[2]) do
  local rest = string.sub(key, #prefix + 1)
  local kind, text = string.match(rest, '^(%l):(.*)$')
  if kind == 'v' then
    if string.sub(text, 1, #begins) == begins then remove_entry(key, text) end
  elseif kind == 'b' then
    if has_key(text, 1) and not is_set_since(string.match(text, '^(.*):') or text) then
      went.bytes = went.bytes + length(key)
      loses_aside(key)
      remove(key, 'others', 0)
    end
  elseif kind == 'g' then
    if is_named(text) then
      if anew then
        emptied[key], own_names[key] = true, true
      else
        loses(key)
        remove(key, 'others', 0)
      end
    end
    if user ~= '' and string.sub(text, 1, #begins + 2) == 'r:' .. begins then
      emptied[key] = true
    end
  elseif kind == 'n' then
    if has_key(text, 0) and not is_set_since(text) then loses(key) remove(key, 'others', 0) end
  elseif kind == 'l' or kind == 'w' then
    if has_key(text, 0) then remove(key, 'others', 0) end
  elseif kind and user == '' and string.sub(text, 1, #begins) == begins then
    if kind == 'c' then remove(key, 'counters', length(key)) end
    if kind == 'd' then remove(key, 'lists', 0) end
  end
end
write_counts()
for key in pairs(emptied) do
  local g = get(key)
  local own, made = counted(g or '')
  if g and own == 0 and made == 0 then
    loses(key)
    remove(key, 'others', 0)
  elseif g and own_names[key] then
    left = left + 1
  end
end
keep_account()
return {said[1], went.entries, went.bytes, went.lists, went.counters, went.others, left}
"""
)

NAMES: Final = Script(
    _WHOM
    + r"""
-- KEYS: 1 e. ARGV: 3 the ring, 4 cursor, 5 the name by which he was invalidated. The next cursor,
-- and how many went: only what that name stands for, as of a time when it was named later.
local ring = string.sub(KEYS[1], 1, -2) .. ARGV[3]
local below = redis.call('ZSCORE', string.sub(KEYS[1], 1, -2) .. 'r', ARGV[5])
if not below then return {'0', 0} end
local said, gone = redis.call('ZSCAN', ring, ARGV[4], 'COUNT', 500), 0
for i = 1, #said[2], 2 do
  local name = said[2][i]
  if name ~= '' and tonumber(said[2][i + 1]) < tonumber(below) and is_named(name) then
    gone = gone + redis.call('ZREM', ring, name)
  end
end
return {said[1], gone}
"""
)

CHANGES: Final = Script(
    OF_LAST_KEY
    + PLACES
    + _WHOM
    + r"""
-- KEYS: 1 e, then the journal's sorted set. ARGV: 3 cursor, 4 the last number that counts, 5 what
-- an entry has in it that bears the user's name, 6 "x" for what was set aside. The next cursor, how
-- many changes went, and their bytes.
local function is_his(text, record)
  return has_key(text, 0)
    or (user ~= '' and string.sub(text, 1, #begins) == begins
      and string.find(record, ARGV[5], 1, true) ~= nil)
end
local gone, bytes = 0, 0
if ARGV[6] == 'x' then
  local said = redis.call('HSCAN', at_jx, ARGV[3], 'COUNT', 100)
  for i = 1, #said[2], 2 do
    local text, record = said[2][i], said[2][i + 1]
    local number = tonumber(string.match(record, '^[^\n]*\n(%d+) ') or 0)
    if number <= tonumber(ARGV[4]) and is_his(text, record)
        and redis.call('HDEL', at_jx, text) == 1 then
      redis.call('HINCRBY', at_jm, 'a', -#record)
      gone, bytes = gone + 1, bytes + #record
    end
  end
  return {said[1], gone, bytes}
end
local said = redis.call('ZSCAN', at_jp, ARGV[3], 'COUNT', 100)
for i = 1, #said[2], 2 do
  local text = said[2][i]
  if tonumber(said[2][i + 1]) <= tonumber(ARGV[4]) then
    local record = redis.call('HGET', at_jr, text) or ''
    if is_his(text, record) then
      redis.call('HDEL', at_jr, text)
      redis.call('ZREM', at_jp, text)
      redis.call('ZREM', at_jc, text)
      redis.call('HINCRBY', at_jm, 'b', -#record)
      gone, bytes = gone + 1, bytes + #record
      local v = string.sub(KEYS[1], 1, -2) .. 'v:' .. text
      if redis.call('PTTL', v) == -1 then redis.call('PEXPIRE', v, 60000) end
    end
  end
end
return {said[1], gone, bytes}
"""
)
