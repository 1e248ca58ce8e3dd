"""The journal of changes that the database does not have yet, in Redis (`capabilities.Journal`).

One script stores an entry and its record together: no change is acknowledged that is not journaled,
and none is journaled that was refused. Of a key the journal keeps the latest change alone, so that
the order of a key's changes is that of their numbers.

    jp   the keys with a change, by its number: a sorted set
    jr   the changes: a hash by key of "number fence\\n" and the bytes of the entry
    jc   who is at work on which: a sorted set of keys, by when that ends, in ms of the server
    jm   a hash: n, the last number; b, the bytes of all records
    jx   what could not be written, by key: why, and the record
    jb:<key>   who adds the key at present; while somebody does, no change of it is journaled

None of them has a life of its own, and so neither has the entry whose change waits: it cannot be
evicted by a server that evicts only what has one. It gets its life back when the change is done.
Numbers are microseconds of the server's clock, or one more than the last: they go on rising where
a server has lost its memory, since the database still compares with those of before.

The engine calls it (`engine/write_behind`). It never decides what may be read: whether an
entry is valid its stamps say, as always. (`docs/protocol.md` rules 43 to 46.)
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from cascada.codecs.envelope import unpack
from cascada.model.entry import Codec, Entry
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.capabilities import Backlog, Change
from cascada.tiers.contract import Filled, Lease, NotPermitted
from cascada.tiers.deadline import AT_ONCE
from cascada.tiers.redis.layout import Layout, life_ms
from cascada.tiers.redis.writes import Leases
from cascada.tiers.redis_client import replies
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.replies import Argument
from cascada.tiers.redis_scripts.fill import STORES
from cascada.tiers.redis_scripts.journaled import NOTES, PLACES
from cascada.tiers.redis_scripts.prelude import COMMON, COUNTS, ROOM, Script

MOST_BYTES: Final = 64 * 2**20
"""Of all records together: where no more fit, a change is written through."""

PAGE_BYTES: Final = 4 * 2**20
"""Of the records of one claim."""

SET_ASIDE: Final = 1000
"""Changes that are kept aside; of more, those that come later are dropped from there."""

EVICTS: Final = (
    "Redis has maxmemory-policy %s, so it may evict what the database does not have yet: "
    "WRITE_BEHIND is off, and values are written through; set volatile%s, or noeviction"
)

FORBIDS: Final = (
    "Redis does not let this user keep a journal (%s): WRITE_BEHIND is off, and values are written "
    "through; allow it all but what is dangerous (+@all -@dangerous)"
)

_ENDS: Final = (b":h", b":z")

_NUMBERED: Final = r"""
local function numbered(text)
  local number = redis.call('ZSCORE', at_jp, text)
  return number and string.format('%.0f', tonumber(number))
end
-- Who adds this key.
local function bar_of(text)
  return string.sub(KEYS[1], 1, -2) .. 'jb:' .. text
end
-- It waits no more, and its entry has a life of so many ms again.
local function drop(text, life)
  local size = redis.call('HSTRLEN', at_jr, text)
  redis.call('HDEL', at_jr, text)
  redis.call('ZREM', at_jp, text)
  redis.call('ZREM', at_jc, text)
  redis.call('HINCRBY', at_jm, 'b', -size)
  local v = string.sub(KEYS[1], 1, -2) .. 'v:' .. text
  if redis.call('PTTL', v) == -1 then redis.call('PEXPIRE', v, life) end
end
"""

_PLACES: Final = PLACES + _NUMBERED

_JOURNALED: Final = (
    NOTES
    + _NUMBERED
    + r"""
-- Behind what stores without a journal: how many changes may wait, their bytes, for each key the
-- database's number at its HOLD.
local held = (#KEYS - 3 - tonumber(ARGV[6])) / 5
local behind = #ARGV - 2 - held
local function last_argument() return behind end

local waiting, bytes = redis.call('ZCARD', at_jp), tonumber(redis.call('HGET', at_jm, 'b') or 0)
local function no_room(text)
  local full = waiting >= tonumber(ARGV[behind + 1]) or bytes >= tonumber(ARGV[behind + 2])
  return (full and not numbered(text)) or redis.call('EXISTS', bar_of(text)) == 1
end

local function journaled(nth, text, v, whole)
  local one, more = note(text, v, ARGV[behind + 2 + nth], whole)
  waiting, bytes = waiting + one, bytes + more
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

SET_ASIDE_SCRIPT: Final = Script(
    _PLACES
    + r"""
-- ARGV: 1 the key, 2 the number of its change (empty: any), 3 why, 4 how many are kept aside, 5 the
-- life of its entry in ms.
local number = numbered(ARGV[1])
if not number or (ARGV[2] ~= '' and number ~= ARGV[2]) then return 0 end
local aside = string.sub(KEYS[1], 1, -2) .. 'jx'
if redis.call('HLEN', aside) < tonumber(ARGV[4]) then
  redis.call('HSET', aside, ARGV[1], ARGV[3] .. '\n' .. (redis.call('HGET', at_jr, ARGV[1]) or ''))
end
drop(ARGV[1], ARGV[5])
return 1
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
  or try('HDEL', hash, 'a') or try('ZADD', set, 1, 'a') or try('ZSCORE', set, 'a')
  or try('ZCARD', set) or try('ZRANGE', set, 0, 0) or try('PERSIST', set) or try('ZREM', set, 'a')
return failed or ''
"""
)

_NOTHING: Final = Entry(b"", Codec.NOTHING)

_HEAD: Final = re.compile(rb"(\d{1,16}) (-?\d{1,19})\n")


class RedisJournal:
    """Of one connection. `run_id`: of the server that it leads to; `dated` gives entries times of
    this process's clock."""

    def __init__(
        self,
        name: str,
        layout: Layout,
        link: Link,
        leases: Leases,
        run_id: Callable[[], bytes],
        *,
        now: Callable[[], float],
        dated: Callable[[Key, Entry], Entry],
    ) -> None:
        self._layout = layout
        self._link = link
        self._leases = leases
        self._run_id = run_id
        self._now = now
        self._dated = dated
        self._asked: bytes | None = None
        self._refusal: str | None = None
        self._keys = [layout.epoch]
        self._pending = layout.prefix + b"jp"
        self._records = layout.prefix + b"jr"
        self._claims = layout.prefix + b"jc"
        self._sums = layout.prefix + b"jm"
        self._aside = layout.prefix + b"jx"

    async def refusal(self) -> str | None:
        """Why this server may keep none; asked once on each server."""
        run_id = self._run_id()
        if run_id != self._asked or not run_id:
            self._refusal = await self._evicts() or await self._forbids()
            self._asked = run_id
        return self._refusal

    async def _evicts(self) -> str | None:
        try:
            said = await self._link.ask(b"INFO", b"memory")
        except NotPermitted:  # nobody can tell; the operator was told that INFO is missing
            return None
        found = re.search(rb"^maxmemory_policy:(allkeys(-\w+))", said, re.MULTILINE)
        return None if found is None else EVICTS % (found[1].decode(), found[2].decode())

    async def _forbids(self) -> str | None:
        # A script that breaks off in the middle leaves half of it done.
        keys = [self._layout.prefix + b"jt:" + os.urandom(8).hex().encode() + end for end in _ENDS]
        failed = await PROBE.run(self._link.ask, keys, [], replies.text)
        why = failed.decode(errors="replace")
        if any(word in why for word in ("OOM", "MISCONF", "READONLY")):
            raise TierUnavailable(f"Redis refused a probe: {why}")
        return FORBIDS % why if why else None

    async def put(
        self,
        leases: Sequence[Lease],
        entries: Sequence[Entry],
        fences: Sequence[int],
        most: int,
    ) -> list[Filled]:
        extra = (most, MOST_BYTES)
        return await self._leases.put(self._run_id(), leases, entries, fences, PUT, extra)

    async def waiting(self, keys: Sequence[Key]) -> frozenset[Key]:
        def fits(reply: Any) -> bool:
            return type(reply) is list and len(reply) == len(keys) and {*reply} <= {0, 1}

        texts = [key.text.encode() for key in keys]
        said = await WAITING.run(self._link.ask, self._keys, texts, fits)
        return frozenset([key for key, waits in zip(keys, said, strict=True) if waits])

    async def claim(self, most: int, seconds: float) -> list[Change]:
        arguments = [most, max(1, round(seconds * 1000)), PAGE_BYTES]
        found = await CLAIM.run(self._link.ask, self._keys, arguments, _pairs)
        return await self._changes(found[::2], found[1::2])

    async def of(self, keys: Sequence[Key]) -> list[Change]:
        texts = [key.text.encode() for key in keys]
        records = await self._link.ask(
            b"HMGET", self._records, *texts, fits=replies.values(len(texts))
        )
        found = [(text, each) for text, each in zip(texts, records, strict=True) if each]
        return await self._changes([text for text, _ in found], [each for _, each in found])

    async def bar(self, key: Key, token: bytes, seconds: float) -> list[Change]:
        text = key.text.encode()
        arguments: list[Argument] = [text, token, max(1, round(seconds * 1000))]
        record = await BAR.run(self._link.ask, self._keys, arguments, replies.text)
        return await self._changes([text], [record]) if record else []

    async def unbar(self, key: Key, token: bytes) -> None:
        arguments: list[Argument] = [key.text.encode(), token]
        await UNBAR.run(self._link.ask, self._keys, arguments, replies.at_least(0))

    async def done(self, changes: Sequence[Change]) -> None:
        now = self._now()
        each: list[Argument] = [
            argument
            for change in changes
            for argument in (
                change.key.text.encode(),
                change.number,
                life_ms(change.entry, now),
            )
        ]
        if each:
            await DONE.run(self._link.ask, self._keys, each, replies.at_least(0))

    async def release(self, changes: Sequence[Change]) -> None:
        if changes:
            texts = [change.key.text.encode() for change in changes]
            await self._link.ask(b"ZREM", self._claims, *texts, fits=replies.at_least(0))

    async def set_aside(self, change: Change, why: str) -> None:
        await self._put_aside(change.key.text.encode(), change.number, why, change.entry)

    async def backlog(self) -> Backlog:
        ask = self._link.ask
        count = await ask(b"ZCARD", self._pending, fits=replies.at_least(0))
        size = await ask(b"HGET", self._sums, b"b", fits=replies.text_or_none)
        aside = await ask(b"HLEN", self._aside, fits=replies.at_least(0))
        oldest = await self._number(0)
        newest = await self._number(-1)
        return Backlog(count, max(0, int(size or 0)), aside, oldest, newest)

    async def _number(self, place: int) -> int:
        (*found,) = await self._link.ask(b"ZRANGE", self._pending, place, place, fits=replies.texts)
        if not found:
            return 0
        record = await self._link.ask(b"HGET", self._records, found[0], fits=replies.text_or_none)
        head = _HEAD.match(record or b"")
        return 0 if head is None else int(head[1])

    async def _changes(self, texts: Sequence[bytes], records: Sequence[bytes]) -> list[Change]:
        """The changes of these records. What is of no key at all is set aside."""
        changes = []
        for number, (text, record) in enumerate(zip(texts, records, strict=True)):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                changes.append(self._change(Key.parse(text.decode()), text, record))
            except ValueError as error:
                await self._put_aside(text, 0, str(error))
        return changes

    def _change(self, key: Key, text: bytes, record: bytes) -> Change:
        head = _HEAD.match(record)
        if head is None:
            return Change(0, key, _NOTHING, -1, "its record in the journal is damaged")
        number, fence = int(head[1]), int(head[2])
        try:
            entry = unpack(record[head.end() :], self._layout.home(text))
        except CorruptEntry as error:
            return Change(number, key, _NOTHING, fence, str(error))
        if entry.codec == Codec.ASIDE:
            return Change(number, key, _NOTHING, fence, "its value does not lie in the journal")
        return Change(number, key, self._dated(key, entry), fence)

    async def _put_aside(self, text: bytes, number: int, why: str, entry: Entry = _NOTHING) -> None:
        life = life_ms(entry, self._now())
        arguments: list[Argument] = [
            text, number or b"", why.encode(errors="replace"), SET_ASIDE, life,
        ]  # fmt: skip
        await SET_ASIDE_SCRIPT.run(self._link.ask, self._keys, arguments, replies.at_least(0))


def _pairs(reply: Any) -> bool:
    return type(reply) is list and len(reply) % 2 == 0 and {*map(type, reply)} <= {bytes}
