"""The script that stores. `writes` runs it for loads, for sets, and for fills by a miss.

Nothing is stored without a proof that it is not outdated. A load needs a lease that stands. A set
needs a HOLD that stands, or an equal value that is there. A fill needs a miss after which nothing
was named. (`docs/protocol.md`.)
"""

from __future__ import annotations

from typing import Final

from cascada.tiers.redis_scripts.prelude import COMMON, COUNTS, ROOM, Script

STORES: Final = r"""
-- KEYS: 4.. = the generations of all names, each once; then for each key v, l, w, the generation of
--   what was made from it, and n.
-- ARGV: 1 run_id, 2 layout, 3 seed, 4 channel, 5 prefix of generations, 6 number of generations,
--   7 capacity, 8.. = their names; then for each key: the lease's value, q of the lease, the
--   key's text, for a set its name ('=' before it: it stands whatever was named since; 'once' for
--   what is stored where nothing is, '+' and a token for what is added, else empty), '1' to store
--   it, '2' to let what is there go, '3' if its payload has found no room, '0' to do neither,
--   version or empty, the entry's life in ms, then that of generations, the entry before its
--   stamps, after them, for each dynamic name '1' if it says what the entry is, '0' if what it
--   was made from, the number of static names, of dynamic ones, and the places of all these.
-- Behind that may stand more, for what is compiled in before this: `last_argument`, `no_room`,
-- `journaled` and PUT_OFF (`STORED_ONLY` here, others in `journal`).
-- The value of a lease is its token and its stamps. What is stored once has none: it is the epoch
-- that its miss saw, and the mark of what was there.
-- It returns for each key 0 refused, 1 stored, 2 an equal value is there, 3 refused and nothing was
-- there, 4 a newer version is known, 5 it cannot be journaled, so that nothing was done, 6
-- nothing stood against it and there is no room, so that the key has no value any more; then the
-- bytes that all take, and when they may be counted anew.
local e = get(KEYS[1])
local q = e and tonumber(string.sub(e, 53))
if not q then e, q = nil, 0 end
local count = tonumber(ARGV[6])
room.capacity = tonumber(ARGV[7])
local nonces, lives = {}, {}

-- The names of all keys that this call sets. They have one number, since it is one step, and are
-- told together. If it breaks off (no room, say), e has a number that was never told, so that
-- whoever reads it next forgets all.
local told = {}

local function number(set)
  if #told == 0 then
    q = q + 1
    e = string.sub(e, 1, 52) .. string.format('%d', q)
    redis.call('SET', KEYS[1], e)
  end
  told[#told + 1] = set
  remember(KEYS[3], q, {set}, 1, 1)
end

-- Where a name stands among the generations.
local places
local function place_of(name)
  if not places then
    places = {}
    for i = 1, count do places[ARGV[7 + i]] = i end
  end
  return places[name]
end

-- The nonce that the generation at this place has now, or an empty one.
local function now(place)
  if not nonces[place] then
    local g = get(KEYS[3 + place])
    nonces[place] = g and string.sub(g, 1, 8) or ''
  end
  return nonces[place]
end

-- The nonce at this place, which is drawn if there is none.
local function made_now(place, life)
  if now(place) == '' then
    nonces[place] = nonce(ARGV[3])
    redis.call('SET', KEYS[3 + place], nonces[place] .. '0:0', 'PX', life)
    gains(bytes_of(#KEYS[3 + place], 11))
  end
  return nonces[place]
end

-- Whether the rings can tell what was named after q, and nothing at these places was.
local function unnamed(since, first, last)
  if redis.call('EXISTS', KEYS[2]) == 0 or low(KEYS[2], q) > since
      or redis.call('EXISTS', KEYS[3]) == 0 or low(KEYS[3], q) > since then
    return false
  end
  for i = first, last do
    local name = ARGV[7 + ARGV[i]]
    local ring = string.sub(name, 1, 2) == 'k:' and KEYS[3] or KEYS[2]
    if named_since(ring, name, since) then return false end
  end
  return true
end

-- The entry v, if it bears these stamps and has not expired when the new one was made.
local function standing(v, stamps, new)
  local found = get(v)
  return found and bears(found, stamps, ARGV[5]) and time_at(found, 28) > time_at(new, 12) and found
end

-- An entry's facts, and what stands behind its stamps, both without what its load took (COSTED).
local function said(facts, rest)
  local flags = string.byte(facts, 2)
  if math.floor(flags / 32) % 2 == 0 then return facts, rest end
  local at = 1
  for _ = 1, string.byte(facts, 14) + 256 * string.byte(facts, 15) do
    at = at + 2 + (string.byte(rest, at) or 0) + 256 * (string.byte(rest, at + 1) or 0)
  end
  return string.sub(facts, 1, 1) .. string.char(flags - 32) .. string.sub(facts, 3),
    string.sub(rest, 1, at - 1) .. string.sub(rest, at + 1 + (string.byte(rest, at) or 0))
end

-- Whether two entries say the same, whenever they were written, however long they live, and
-- whatever they cost.
local function equal(found, new, stamps, after)
  local facts, other = string.sub(found, 36, 50), string.sub(new, 36, 50)
  local alike = string.sub(found, 4, 7) == string.sub(new, 4, 7)
  local mine, rest = said(facts, string.sub(found, 51 + 8 * stamps))
  local theirs, brought = said(other, after)
  return rest == brought and mine == theirs
    and (alike or mine ~= facts or theirs ~= other)
end

-- By how many bytes this entry would be more than what it replaces, with the generations that it
-- needs and nobody has drawn yet.
local function growth(at, v, new)
  local stamps = 1 + ARGV[at + 11] + ARGV[at + 12]
  local more = bytes_of(#v, #new + 8 * stamps + #ARGV[at + 9]) - taken(v)
  for i = at + 13 + ARGV[at + 11], at + 11 + stamps do
    if now(tonumber(ARGV[i])) == '' then more = more + bytes_of(#KEYS[3 + ARGV[i]], 11) end
  end
  return more
end

-- Which of the keys it is, counted from 1.
local nth = 0

-- `payload`: where what the entry refers to lies, if it does not lie in the entry.
local function fill(at, key, payload)
  local lease, set, version, new = ARGV[at], ARGV[at + 3], ARGV[at + 5], ARGV[at + 8]
  local v, l, w, made, n = KEYS[key], KEYS[key + 1], KEYS[key + 2], KEYS[key + 3], KEYS[key + 4]
  local static, late = tonumber(ARGV[at + 11]), tonumber(ARGV[at + 12])
  local since, life = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 7])
  local adds = string.sub(set, 1, 1) == '+' and string.sub(set, 2)
  local once = set == 'once' or adds
  local anyhow = string.sub(set, 1, 1) == '='
  if anyhow then set = string.sub(set, 2) end
  if once then set = '' end
  if once or anyhow then
    -- After a flush, or once the rings were evicted, somebody has to begin anew: who stores in this
    -- way takes no lease, which would. This time it is refused, unless nothing was numbered since.
    if not e or string.sub(e, 9, 48) ~= ARGV[1] then e, q = epoch(ARGV[1], ARGV[2], ARGV[3]) end
    low(KEYS[2], q)
    low(KEYS[3], q)
  end
  local held = get(l)
  if anyhow then lease = held or '' end -- whoever has it brings what is older
  -- The reply to the same was lost: what it has stored would refuse it. Something may have ended
  -- that since, so nobody is to keep it at this number.
  if adds and held == adds then return {2, q, string.sub(e, 1, 8)} end
  local accepted = (once or anyhow or held == lease) and e and string.sub(e, 9, 48) == ARGV[1]
  local stamps, undrawn = {}, false
  if accepted then
    stamps[1] = string.sub(e, 1, 8)
    for i = at + 13, at + 12 + static do
      local place = tonumber(ARGV[i])
      local draws = (once or anyhow) and not is_full()
      stamps[#stamps + 1] = draws and made_now(place, life) or now(place)
      if stamps[#stamps] == '' then
        stamps[#stamps], undrawn = UNDRAWN, true
      end
    end
    if anyhow then
      accepted = not undrawn
    elseif not once then
      accepted = table.concat(stamps) == string.sub(lease, 17)
      -- A stamp that was never drawn says nothing: the ring must.
      accepted = accepted and (not undrawn or unnamed(since, at + 13, at + 12 + static))
    else
      -- Nobody's lease, so only the rings can tell what was named since its miss. No entry but what
      -- the miss has seen and an absence may go for it.
      accepted = stamps[1] == string.sub(lease, 1, 8)
        and not named_since(KEYS[3], 'k:' .. ARGV[at + 2], since)
        and unnamed(since, at + 13, at + 12 + static)
      local found = accepted and standing(v, table.concat(stamps), new)
      if found and string.sub(found, 4, 11) ~= string.sub(lease, 9)
          and string.byte(found, 37) % 2 == 0 then
        accepted = false
      end
    end
  end
  if accepted and payload and (redis.call('EXISTS', payload) == 0 or reserved(payload)) then
    accepted = false -- evicted meanwhile
  end
  if accepted and late > 0 and not anyhow then
    -- Late names: the lease did not know them, so only the ring can tell what became of them.
    accepted = unnamed(since, at + 13 + static, at + 12 + static + late)
  end
  -- Refused or not, the lease has done its service; whoever waits for it need wait no longer.
  local function release()
    if held == lease then redis.call('DEL', l) end
    if (held == lease or set ~= '') and redis.call('DEL', w) == 1 then
      publish(ARGV[4], 'w' .. ARGV[at + 2])
    end
  end
  if version ~= '' then
    -- An older version than the greatest that was ever written brings nothing new: what is here
    -- stays.
    local greatest = get(n)
    if greatest and #greatest == 20 and version < greatest then
      release()
      return {4, q, ''}
    end
  end
  local outcome = accepted and 1 or 0
  local store = ARGV[at + 4]
  local full = accepted and (store == '1' or store == '3') and (store == '3' or undrawn
    or not has_room(string.byte(new, 37), growth(at, v, new)))
  if full and PUT_OFF then return {5, q, ''} end
  if full then
    outcome = 6
    if adds then return {6, q, ''} end
  end
  if adds and accepted then
    -- From here on it is a set: who has read that there is nothing has to hear of it. Its token is
    -- nobody's lease, and lies in the place of one for as long as a reply may be waited for.
    set = 'k:' .. ARGV[at + 2]
    redis.call('SET', l, adds, 'PX', 5000)
  end
  if set ~= '' then
    -- A set: whatever becomes of it, every other lease and every older value of the key is void.
    local found = false
    if not accepted and e and string.sub(e, 9, 48) == ARGV[1] then
      local current = {string.sub(e, 1, 8)}
      for i = at + 13, at + 12 + static do current[#current + 1] = now(tonumber(ARGV[i])) end
      found = standing(v, table.concat(current), new)
    end
    if not accepted then outcome = found and 0 or 3 end
    if not e or string.sub(e, 9, 48) ~= ARGV[1] then e, q = epoch(ARGV[1], ARGV[2], ARGV[3]) end
    if found and time_at(found, 20) > time_at(new, 12)
        and equal(found, new, 1 + static + late, ARGV[at + 9]) then
      -- A void set, whose caller may have written the row. But what is here says the same of the
      -- row; so it stays, for as long as the shorter-lived of the two says.
      outcome = 2
      redis.call('UNLINK', made)
      local longer = time_at(found, 20) - time_at(new, 20)
      if longer > 0 or (longer == 0 and time_at(found, 28) > time_at(new, 28)) then
        local mine = string.sub(found, 51, 50 + 8 * (1 + static + late))
        local whole = new .. mine .. ARGV[at + 9]
        redis.call('SET', v, whole, 'PX', ARGV[at + 6])
        relived(ARGV[at + 2], v, found, whole)
      end
    else
      uncount(head(v), ARGV[at + 2], not full and ARGV[at + 9])
      loses(v, 1)
      redis.call('UNLINK', v, made)
    end
    local gone = place_of(set)
    if gone then nonces[gone] = nil end
    -- Not that of a set of an equal value, which is about to store it.
    if not accepted and string.sub(held or '', 1, 16) ~= string.sub(lease, 1, 16) then
      redis.call('UNLINK', l)
    end
    number(set)
  elseif full then
    -- What is passed over goes from here: else it would be found where the new value is not.
    uncount(head(v), ARGV[at + 2])
    loses(v, 1)
    redis.call('UNLINK', v)
  end
  if version ~= '' and (accepted or set ~= '') then
    local known = taken(n)
    if known > 0 or not is_full() then
      if known == 0 then gains(bytes_of(#n, 20)) end
      redis.call('SET', n, version, 'PX', math.max(tonumber(ARGV[at + 6]), 2592000000))
    end
  end
  release()
  local answer = {outcome, q, e and string.sub(e, 1, 8) or ''}
  if accepted and store == '2' then
    -- The key's place is elsewhere: what it has here is older.
    uncount(head(v), ARGV[at + 2], '')
    loses(v, 1)
    redis.call('UNLINK', v)
  end
  if not accepted or full or store ~= '1' then return answer end
  for i = at + 13 + static, at + 12 + static + late do
    stamps[#stamps + 1] = made_now(tonumber(ARGV[i]), life)
  end
  uncount(head(v), ARGV[at + 2], ARGV[at + 9])
  local whole = new .. table.concat(stamps) .. ARGV[at + 9]
  loses(v, 1)
  gains(bytes_of(#v, #whole), 1)
  redis.call('SET', v, whole, 'PX', ARGV[at + 6])
  journaled(nth, ARGV[at + 2], v, whole)
  for i = at + 13, at + 12 + static + late do
    local place = tonumber(ARGV[i])
    local late_at = i - at - 12 - static
    local derived = late_at > 0 and string.sub(ARGV[at + 10], late_at, late_at) == '0'
    change(KEYS[3 + place], now(place), derived and 0 or 1, derived and 1 or 0)
    lives[place] = math.max(lives[place] or 0, life)
  end
  return answer
end

local answers = {}
local at, key = 8 + count, 4 + count
local last = last_argument()
while at <= last do
  nth = nth + 1
  local aside = ARGV[at + 4] == '1' and string.byte(ARGV[at + 8], 36) == 6
  local payload = aside and beside(ARGV[at + 2], digest_in(ARGV[at + 9]))
  local refused = no_room(nth, ARGV[at + 2])
  answers[nth] = refused and {refused, q, ''} or fill(at, key, payload)
  if payload then
    -- Whatever became of it: the entry that is there may be another writer's who says the same, and
    -- refer to the same payload. If none does, one who is about to store it may still come.
    local v = head(KEYS[key])
    local referred = v and string.byte(v, 36) == 6 and digest_in(v) == digest_in(ARGV[at + 9])
    if not referred and answers[nth][1] == 6 then
      loses_aside(payload) -- it would take for a minute what there is not
      redis.call('UNLINK', payload)
    else
      local left = referred and redis.call('PTTL', KEYS[key]) or 0
      redis.call('PEXPIRE', payload, left + 60000)
    end
  end
  at = at + 13 + ARGV[at + 11] + ARGV[at + 12]
  key = key + 5
end
if #told > 0 then
  local said = 'i' .. string.sub(e, 1, 8) .. string.format('%d', q) .. '\n'
  publish(ARGV[4], said .. table.concat(told, '\n'))
end
write_counts()
-- A generation must outlive whatever bears it: else its next nonce would be the only thing that
-- tells a dead entry from a live one. It is only ever lengthened. It is gone if a later key of this
-- call was set, from which an earlier one had been made.
for place, life in pairs(lives) do
  local left = redis.call('PTTL', KEYS[3 + place])
  if left ~= -2 and left < life then redis.call('PEXPIRE', KEYS[3 + place], life) end
end
local all = account()
keep_account()
answers[#answers + 1] = {all.used, all.due}
return answers
"""
"""What stores, behind `COMMON`, `ROOM`, `COUNTS`, and what is said of a journal."""

STORED_ONLY: Final = r"""
local function last_argument() return #ARGV end
local function no_room() return false end
local function journaled() end
local function relived() end
local PUT_OFF = false
"""

FILL: Final = Script(COMMON + ROOM + COUNTS + STORED_ONLY + STORES)
