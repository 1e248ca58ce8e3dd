"""The journal of changes that the database does not have yet, in Redis (`capabilities.Journal`).

One script stores an entry and its record together: no change is acknowledged that is not journaled,
and none is journaled that was refused. Of a key the journal keeps the latest change alone, so that
the order of a key's changes is that of their numbers.

    jp   the keys with a change, by its number: a sorted set
    jr   the changes: a hash by key of "number fence\\n" and the bytes of the entry; " m" before
         the end of the line if it was put after a miss
    jc   who is at work on which: a sorted set of keys, by when that ends, in ms of the server
    jm   a hash: n, the last number; b, the bytes of all records; a, of what was set aside
    jx   what could not be written, by key: why, and the record
    jn   the last number of all journals together
    jb:<key>   who adds the key at present; while somebody does, no change of it is written behind

Behind these stands ":" and the journal's name, but for that of what is written behind. None of them
has a life of its own, and so neither has the entry whose change waits: it cannot be evicted by a
server that evicts only what has one, and goes only if it is invalidated. It gets its life back when
the change is done. Of a name, who finds it expired is given what waits (`standing`).
Numbers are microseconds of the server's clock, or one more than the last: they go on rising where
a server has lost its memory, since the database still compares with those of before.

The engine calls it (`engine/write_behind`, and by name `tiers/guarded_journal`). It never decides
what may be read: whether an entry is valid its stamps say, as always. (`docs/protocol.md` rules 43
to 46, 53 to 57.)
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from cascada.codecs.envelope import unpack
from cascada.model.entry import Codec, Entry
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key, quote
from cascada.tiers.capabilities import MOST_BYTES, Backlog, Change, Put, SetAside
from cascada.tiers.contract import Filled, Lease, NotPermitted, Outcome
from cascada.tiers.deadline import AT_ONCE
from cascada.tiers.redis.batches import places
from cascada.tiers.redis.layout import Layout, life_ms
from cascada.tiers.redis.writes import Leases
from cascada.tiers.redis_client import replies
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.replies import Argument
from cascada.tiers.redis_scripts import journal as scripts

PAGE_BYTES: Final = 4 * 2**20
"""Of the records of one claim."""

LARGEST: Final = 4 * 2**20
"""Bytes of a value that is journaled: it lies here twice, and a script copies it."""

KEPT_ASIDE: Final = 1000
"""Changes that are kept aside of what is written behind; of more, those that come later are dropped
from there. Of what has a name none is."""

EVICTS: Final = (
    "Redis has maxmemory-policy %s, so it may evict what the database does not have yet: "
    "WRITE_BEHIND is off, and values are written through; set volatile%s, or noeviction"
)

FORBIDS: Final = (
    "Redis does not let this user keep a journal (%s): WRITE_BEHIND is off, and values are written "
    "through; allow it what `cascada doctor` says (+@read +@write +@scripting, ...)"
)

_ENDS: Final = (b":h", b":z")

_NOTHING: Final = Entry(b"", Codec.NOTHING)

_HEAD: Final = re.compile(rb"(\d{1,16}) (-?\d{1,19})( m)?\n")

_NO_ROOM: Final = Filled(accepted=False, seq=-1, outcome=Outcome.FULL)


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
        self._named = bool(name)
        behind = b":" + quote(name).encode() if name else b""
        self._pending, self._records, self._claims, self._sums, self._aside = (
            layout.prefix + what + behind for what in (b"jp", b"jr", b"jc", b"jm", b"jx")
        )
        self._keys = [layout.epoch, self._pending]

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
        failed = await scripts.PROBE.run(self._link.ask, keys, [], replies.text)
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
        *,
        puts: Sequence[Put] = (),
        most_bytes: int = MOST_BYTES,
    ) -> list[Filled]:
        how = [*puts] or [Put.FENCED] * len(leases)
        small = [at for at, entry in enumerate(entries) if len(entry.data) <= LARGEST]
        answers, run_id = [_NO_ROOM] * len(leases), self._run_id()
        filled = await self._leases.put(
            run_id,
            [leases[at] for at in small],
            [entries[at] for at in small],
            [(int(how[at]), _noted(fences[at], how[at])) for at in small],
            scripts.PUT,
            (most, most_bytes),
            self._pending,
        )
        for at, answer in zip(small, filled, strict=True):
            answers[at] = answer
        # What is FENCED and finds no room is filled under its lease.
        refused = [
            lease
            for lease, put, answer in zip(leases, how, answers, strict=True)
            if put >= Put.AFTER_MISS and answer.outcome in (Outcome.OLDER, Outcome.FULL)
        ]
        if refused:
            await self._leases.fill(run_id, refused, [None] * len(refused))
        return answers

    async def waiting(self, keys: Sequence[Key]) -> frozenset[Key]:
        def fits(reply: Any) -> bool:
            return type(reply) is list and len(reply) == len(keys) and {*reply} <= {0, 1}

        texts = [key.text.encode() for key in keys]
        said = await scripts.WAITING.run(self._link.ask, self._keys, texts, fits)
        return frozenset([key for key, waits in zip(keys, said, strict=True) if waits])

    async def claim(self, most: int, seconds: float) -> list[Change]:
        arguments = [most, max(1, round(seconds * 1000)), PAGE_BYTES]
        found = await scripts.CLAIM.run(self._link.ask, self._keys, arguments, _pairs)
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
        record = await scripts.BAR.run(self._link.ask, self._keys, arguments, replies.text)
        return await self._changes([text], [record]) if record else []

    async def unbar(self, key: Key, token: bytes) -> None:
        arguments: list[Argument] = [key.text.encode(), token]
        await scripts.UNBAR.run(self._link.ask, self._keys, arguments, replies.at_least(0))

    async def standing(self, keys: Sequence[Key]) -> list[Change]:
        generations: dict[bytes, int] = {}
        texts, each = [key.text.encode() for key in keys], list[Argument]()
        for key, text in zip(keys, texts, strict=True):
            _, borne = self._layout.borne(key)
            mine = places(generations, borne)
            each += (text, len(mine), *mine)
        records = await scripts.STANDING.run(
            self._link.ask,
            [self._layout.epoch, *generations, self._pending],
            [self._run_id(), self._layout.generations, *each],
            replies.values(len(keys)),
        )
        found = [(text, each) for text, each in zip(texts, records, strict=True) if each]
        return await self._changes([text for text, _ in found], [each for _, each in found])

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
            await scripts.DONE.run(self._link.ask, self._keys, each, replies.at_least(0))

    async def release(self, changes: Sequence[Change]) -> None:
        if changes:
            texts = [change.key.text.encode() for change in changes]
            await self._link.ask(b"ZREM", self._claims, *texts, fits=replies.at_least(0))

    async def set_aside(self, change: Change, why: str) -> None:
        await self._put_aside(change.key.text.encode(), change.number, why, change.entry)

    async def aside(self, most: int) -> list[SetAside]:
        kept = await scripts.ASIDE.run(self._link.ask, self._keys, [most, PAGE_BYTES], _pairs)
        found = []
        for text, value in zip(kept[::2], kept[1::2], strict=True):
            why, _, record = value.partition(b"\n")
            with suppress(ValueError):
                change = self._change(Key.parse(text.decode()), text, record)
                found.append(SetAside(change, why.decode(errors="replace")))
        return sorted(found, key=lambda each: each.change.number)

    async def retry(self, keys: Sequence[Key] | None = None) -> int:
        texts = [key.text.encode() for key in keys or ()]
        if keys is not None and not texts:
            return 0
        back: int = await scripts.RETRY.run(self._link.ask, self._keys, texts, replies.at_least(0))
        return back

    async def backlog(self) -> Backlog:
        ask = self._link.ask
        count = await ask(b"ZCARD", self._pending, fits=replies.at_least(0))
        size, number = await ask(b"HMGET", self._sums, b"b", b"n", fits=replies.values(2))
        aside = await ask(b"HLEN", self._aside, fits=replies.at_least(0))
        oldest = await self._number(0)
        newest = await self._number(-1)
        seconds, micros = await ask(b"TIME", fits=replies.values(2))
        last = max(int(number or 0), int(seconds) * 1_000_000 + int(micros) - 1)
        return Backlog(count, max(0, int(size or 0)), aside, oldest, newest, last)

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
        number, fence, after_miss = int(head[1]), int(head[2]), head[3] is not None
        try:
            entry = unpack(record[head.end() :], self._layout.home(text))
        except CorruptEntry as error:
            return Change(number, key, _NOTHING, fence, str(error), after_miss)
        if entry.codec == Codec.ASIDE:
            return Change(number, key, _NOTHING, fence, "its value does not lie in the journal")
        return Change(number, key, self._dated(key, entry), fence, after_miss=after_miss)

    async def _put_aside(self, text: bytes, number: int, why: str, entry: Entry = _NOTHING) -> None:
        life = life_ms(entry, self._now())
        most = 10**9 if self._named else KEPT_ASIDE
        said = " ".join(why.split()).encode(errors="replace")
        arguments: list[Argument] = [text, number or b"", said, most, life]
        await scripts.SET_ASIDE.run(self._link.ask, self._keys, arguments, replies.at_least(0))


def _noted(fence: int, put: Put) -> str:
    """What a record says before its entry, but for the number."""
    return f"{fence} m" if put is Put.AFTER_MISS else str(fence)


def _pairs(reply: Any) -> bool:
    return type(reply) is list and len(reply) % 2 == 0 and {*map(type, reply)} <= {bytes}
