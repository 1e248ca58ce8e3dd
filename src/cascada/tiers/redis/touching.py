"""Another life for an entry in Redis: one script replaces its times, if it is still the same.

An entry's times have a checksum of their own (`codecs/envelope.py`), so that nobody has to bring
the payload for it: what the entry holds, and its stamps, stay as they are. The tier's `touch` is
here, and nothing else may change what is stored in this way.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cascada.codecs.envelope import CONTENT, times_of
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import entry_name
from cascada.tiers.contract import Found, Missing, Renewed, Touched
from cascada.tiers.redis import script_replies
from cascada.tiers.redis.large_payloads import Aside
from cascada.tiers.redis.layout import GENERATION_MS, LONGEST_MS, NONCE, Layout, life_ms
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_scripts.journaled import NOTES, WRITTEN_BEHIND
from cascada.tiers.redis_scripts.prelude import COMMON, COUNTS, ROOM, Script

TRIES: Final = 16
"""Times that a value may be replaced between the look at it and its script, before it counts as
touched first and replaced then."""

TOUCH: Final = Script(
    COMMON
    + ROOM
    + COUNTS
    + WRITTEN_BEHIND
    + NOTES
    + r"""
-- KEYS: 4 v, 5 l, 6 w, 7 n, then the generations of the static names, and of the dynamic ones.
-- ARGV: 1 run_id, 2 layout, 3 seed, 4 channel, 5 prefix of generations, 6 the key's text, 7 its
--   entry's name, 8 the checksum of what the entry holds (empty: there is none), 9 its new bytes
--   8 to 35, 10 its life in ms, 11 the generations', 12 the number of static names.
-- It returns 1 if all is done, 3 if it waits to be written elsewhere as well, 2 if the entry's
-- payload is gone, 0 if the entry is not the same; then q.
local function lengthen(key, life)
  local left = redis.call('PTTL', key)
  if left >= 0 and left < life then redis.call('PEXPIRE', key, life) end
end

local e = get(KEYS[1])
local q = e and tonumber(string.sub(e, 53)) or 0
local done = 1
if ARGV[8] ~= '' then
  local v = get(KEYS[4])
  if not v or not e or string.sub(e, 9, 48) ~= ARGV[1] or string.sub(v, 4, 7) ~= ARGV[8] then
    return {0, q, ''}
  end
  local stamps = {string.sub(e, 1, 8)}
  for i = 1, tonumber(ARGV[12]) do
    local g = get(KEYS[7 + i])
    stamps[#stamps + 1] = g and string.sub(g, 1, 8) or ''
  end
  if not bears(v, table.concat(stamps), ARGV[5]) then return {0, q, ''} end
  local life = tonumber(ARGV[10])
  if string.byte(v, 36) == 6 then
    local payload = beside(ARGV[6], digest_in(v))
    if redis.call('EXISTS', payload) == 0 then return {2, q, ''} end
    redis.call('PEXPIRE', payload, life + 60000)
  end
  local whole = string.sub(v, 1, 7) .. ARGV[9] .. string.sub(v, 36)
  local pinned = redis.call('PTTL', KEYS[4]) == -1 -- what waits in a journal is not evicted
  redis.call('SET', KEYS[4], whole, 'PX', life)
  if pinned then redis.call('PERSIST', KEYS[4]) end
  if relived(ARGV[6], KEYS[4], v, whole) then done = 3 end
  -- What says that it is valid outlives it, and is only ever lengthened: others may bear it.
  lengthen(KEYS[7], life)
  for i = 8, #KEYS do lengthen(KEYS[i], tonumber(ARGV[11])) end
end
-- The lease of a load: what it brings has the old life. A set brings a value of its own, and what
-- an add has left there is no lease.
local held = get(KEYS[5])
if held and #held > 16 and string.byte(held, 16) == 0 then
  redis.call('DEL', KEYS[5])
  if redis.call('DEL', KEYS[6]) == 1 then publish(ARGV[4], 'w' .. ARGV[6]) end
end
e, q = epoch(ARGV[1], ARGV[2], ARGV[3])
q = q + 1
redis.call('SET', KEYS[1], string.sub(e, 1, 52) .. string.format('%d', q))
publish(ARGV[4], 'i' .. string.sub(e, 1, 8) .. string.format('%d', q) .. '\n' .. ARGV[7])
return {done, q, string.sub(e, 1, 8)}
"""
)

Glance = Callable[[Sequence[Key]], Awaitable[list[Found | Missing]]]


class Touching:
    """Of one connection. `glance` looks at an entry and not at a large payload, `numbered_in` is
    told in which epoch a touch was numbered."""

    def __init__(
        self,
        layout: Layout,
        link: Link,
        aside: Aside,
        *,
        now: Callable[[], float],
        glance: Glance,
        numbered_in: Callable[[bytes], None],
    ) -> None:
        self._layout = layout
        self._link = link
        self._aside = aside
        self._now = now
        self._glance = glance
        self._numbered_in = numbered_in

    async def touch(self, run_id: bytes, key: Key, renewed: Renewed, *, below: bool) -> Touched:
        """As the contract has it."""
        seq, was, entry = 0, None, None
        for _ in range(TRIES):
            (found,) = await self._glance([key])
            seq, was, entry, mark = found.seq, None, None, b""
            if isinstance(found, Found):
                was, mark = found.entry, found.mark
                entry = renewed(was, self._aside.size(was))
            if entry is None and not below:
                return Touched(seq)
            said, seq, nonce = await self._send(run_id, key, entry, mark)
            if said in (1, 3):
                self._numbered_in(nonce)
                return Touched(seq, None if entry is None else was, entry, waits=said == 3)
            if said == 2:  # its payload is gone
                was = entry = None
                if not below:
                    break
                _, seq, nonce = await self._send(run_id, key, None, b"")
                self._numbered_in(nonce)
                break
        return Touched(seq, was, entry)

    async def _send(
        self, run_id: bytes, key: Key, entry: Entry | None, mark: bytes
    ) -> tuple[int, int, bytes]:
        layout, text = self._layout, key.text.encode()
        entry_key, lease, waited, _, version = layout.fill_keys(text)
        static: Sequence[bytes] = ()
        late: Sequence[bytes] = ()
        content, times, life = b"", b"", 0
        if entry is not None:
            _, static = layout.borne(key)
            late = [*map(layout.generation, entry.names)]
            content, times = mark[:CONTENT], times_of(entry, mark)
            life = life_ms(entry, self._now())
        said: tuple[int, int, bytes] = await TOUCH.run(
            self._link.ask,
            [*layout.common, entry_key, lease, waited, version, *static, *late],
            [
                run_id, b"%04d" % layout.number, os.urandom(NONCE), layout.channel,
                layout.generations, text, entry_name(key).encode(), content, times, life,
                max(GENERATION_MS, min(2 * life, LONGEST_MS)), len(static),
            ],
            script_replies.touched,
        )  # fmt: skip
        return said
