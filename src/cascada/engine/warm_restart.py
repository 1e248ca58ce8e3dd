"""Warm restart: which keys of memory are hot is noted, and a process that starts reads them again.

Every minute, and when the cache closes, the keys of memory go to a list in the lowest tier that
keeps data (`usage.py`): there it is while Redis is away. Those that were hit most since the last
time come first, and what is in memory no more soon leaves the list. No value is noted. At the start
the keys of that list are looked up as a `get` does, tier by tier, behind the leases of memory
(`docs/protocol.md` rules 13 and 41): what was invalidated or has ended meanwhile is simply not
there. No loader runs, and nobody waits for it: it is a task of the engine's, which ends with it,
one lookup of some bytes at a time. What is read is not decoded: memory keeps bytes.

While Redis is away memory takes nothing, so the task waits for it, however long that is; and until
its feed has heard of the numbers there: those of a server that has just begun are made by who
connects, and who hears of new ones forgets all. Where memory is emptied all the same, because Redis
was away once more, what is noted is read again, in the place of the next noting.

It must never note anything before it has read what is noted: a process that is killed again and
again while it starts would leave the list worse each time.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from contextvars import Context
from functools import partial
from typing import Final, NamedTuple

from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.reading.lookup import Lookup
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.usage import LONGEST, Usage, Used, in_turns
from cascada.model.errors import CascadaError, InvalidKey, TierUnavailable
from cascada.model.keys import Key, quote
from cascada.tiers.datastore import DataStore
from cascada.tiers.memory.record import Record

LIST: Final = ":used"
"""Of no tenant: the first segment is empty, which no tenant is."""

MOST_ITEMS: Final = 4

FIRST: Final = 4.0
EACH: Final = 60.0
"""Seconds before keys are noted, which grow: who is killed soon has noted something."""

AGAIN: Final = 1.0
"""Seconds after which a tier that did not answer is asked again."""

SOON: Final = 0.05
"""Seconds after which it is looked again whether memory is up to date."""

NUMBERED: Final = 40
"""Looks whether there are numbers by now; then it goes on without, and makes them itself."""

AT_ONCE: Final = 64
BYTES_AT_ONCE: Final = 2**20
"""Keys of one lookup, and the bytes that their values have by what those before them had."""

HERE: Final = 2000
"""Records that are looked at on the event loop; more of them by a thread."""

logger = logging.getLogger("cascada")


class WarmRestart(NamedTuple):
    """How far the keys that were noted before the start have been read again.

    noted: how many they are. read: how many of them have been looked up. found: how many of those
    came to memory. seconds: since the list was asked for. finished: nothing more is read, as also
    where there is no warm restart. Where memory is emptied later, since Redis was away, the numbers
    begin anew, and `finished` stays: who waits for it before it serves has served by then.
    """

    noted: int = 0
    read: int = 0
    found: int = 0
    seconds: float = 0.0
    finished: bool = False


class Restart:
    """Of one cache. most: keys that are noted, and read again; 0 is none. store: None where nothing
    outlives the process. `life` is the engine's, and given to it by who builds both."""

    life: Lifecycle

    def __init__(self, stack: Stack, store: DataStore | None, most: int) -> None:
        self._stack = stack
        self.store = store
        self._most = most
        self._usage = Usage(LIST, most, MOST_ITEMS, fades=True)
        self.progress = WarmRestart(finished=not self.is_on)

    @property
    def is_on(self) -> bool:
        # What memory is not filled with by reads cannot be brought back by them.
        return bool(self._most and self.store and not self._stack.reads_around)

    def begin(self) -> None:
        """Start on an event loop, in nobody's context."""
        if self.is_on:
            self.progress = WarmRestart()
            self._noted_at = -math.inf
            self._numbering = self._stack.memory.names.numbering
            background = self._stack.background
            Context().run(background.keep_running, self._run, "warm restart")
            background.at_last(self._at_last, "warm restart")

    async def _run(self) -> None:
        await self.life.ready()  # connections are up by now, if they are soon
        if not self.progress.finished:
            await self._bring()
        pause = FIRST
        while True:
            await asyncio.sleep(pause)
            if self.progress.noted and self._is_emptied:
                await self._bring()  # instead: what has come since is not what was hot
            else:
                await self._note()
            pause = min(2 * pause, EACH)

    async def _at_last(self) -> None:
        if self.progress.finished:
            await self._note()

    # --- what is noted --------------------------------------------------------------------------

    async def _note(self) -> None:
        store, since, self._noted_at = self.store, self._noted_at, self._stack.timer()
        assert store is not None  # or it would not have begun
        records = list(self._stack.memory.records)  # others come and go meanwhile
        choose = partial(_hottest, records, since, self._most)
        counted = await asyncio.to_thread(choose) if len(records) > HERE else choose()
        if counted:
            try:
                await self._usage.add(store, counted)
            except CascadaError as error:
                self._noted_at = since
                logger.debug("the keys of memory are not noted: %s", error)

    # --- what is read again ---------------------------------------------------------------------

    async def _bring(self) -> None:
        timer = self._stack.timer
        began = timer()
        self._numbering = self._stack.memory.names.numbering
        noted = await self._noted()
        before = self.progress.finished
        progress = self.progress = WarmRestart(noted=len(noted), finished=before)
        at_once, patience = 1, NUMBERED
        while progress.read < progress.noted and at_once:
            batch, size = noted[progress.read : progress.read + at_once], self._size
            errors = self._errors
            is_numbered = self._stack.memory.freshness.is_numbered
            if not self._is_heard or (patience and not is_numbered):
                patience -= self._is_heard
                await asyncio.sleep(SOON)  # what came now would have to go when it is
                continue
            if not progress.read:
                self._numbering = self._stack.memory.names.numbering
            found = await self._read(batch)
            if self._errors > errors or not self._stack.lower[0].available:
                await asyncio.sleep(AGAIN)  # memory takes nothing where nobody numbers it
                continue
            # What these have weighed, the next ones are expected to weigh. They come not at the
            # price of what callers have brought meanwhile.
            weight = max(1.0, (self._size - size) / (found or 1))
            room = int((self._stack.memory.capacity - self._size) / weight)
            at_once = min(2 * at_once, AT_ONCE, max(1, int(BYTES_AT_ONCE / weight)), room)
            progress = self.progress = progress._replace(
                read=progress.read + len(batch),
                found=progress.found + found,
                seconds=timer() - began,
            )
            await asyncio.sleep(0)
        self.progress = progress._replace(finished=True, seconds=timer() - began)
        if progress.noted:
            logger.info(
                "warm restart: of %d keys that were hot before, %d are in memory again, after "
                "%.2f seconds", progress.noted, progress.found, self.progress.seconds,
            )  # fmt: skip

    async def _noted(self) -> list[Used]:
        store = self.store
        assert store is not None
        while True:
            try:
                return await self._usage.most_of_all(store, self._most)
            except TierUnavailable:
                await asyncio.sleep(AGAIN)
            except CascadaError as error:
                logger.warning("warm restart: what was noted cannot be read: %s", error)
                return []

    @property
    def _is_heard(self) -> bool:
        """Whether memory has heard of all invalidations, as far as is known."""
        now, freshness = self._stack.timer(), self._stack.memory.freshness
        return now < freshness.until or freshness.extend(now)

    @property
    def _is_emptied(self) -> bool:
        """Whether memory has forgotten all since it was last filled from the list."""
        return self._numbering is not self._stack.memory.names.numbering

    @property
    def _errors(self) -> int:
        return self._stack.trace.tier_errors[self._stack.authority.name]

    @property
    def _size(self) -> int:
        return self._stack.memory.records.size

    async def _read(self, batch: Sequence[Used]) -> int:
        """Look these up; how many came to memory. What is there, or being loaded, is left alone."""
        stack, by_type = self._stack, dict[str, list[Request]]()
        for key in filter(None, map(_key, batch)):
            if stack.memory.records.get(key) is None and stack.flights.find(key) is None:
                kind = stack.kinds.of(key.tenant, key.data_type).of(key.tenant, key.resource_id)
                by_type.setdefault(key.data_type, []).append(Request(kind, (key,)))
        found = 0
        for requests in by_type.values():
            await Lookup(stack, requests, for_memory=True).run()
            found += sum(stack.memory.records.get(each.key) is not None for each in requests)
        return found


def _hottest(records: Sequence[Record], since: float, most: int) -> dict[Used, int]:
    """So many of their keys, with a measure of how much they are used: what was not since then has
    the least."""
    found = dict[Used, int]()
    for record in records:
        if not record.gone and record.is_valid:
            key = record.key
            if len(text := key.text.partition(":")[2]) <= LONGEST:
                used = record.used > since
                found[key.tenant, text] = 1 + record.hits.bit_length() if used else 1
    return {each: found[each] for each in in_turns(found, most)}


def _key(used: Used) -> Key | None:
    """None of what another hand has written."""
    tenant, text = used
    try:
        key = Key.parse(f"{quote(tenant)}:{text}")
    except InvalidKey:
        return None
    return key if tenant and key.data_type and key.resource_id else None
