"""The Redis tier (L2): validated reads, leases, fills and invalidations.

A read is one MGET: the epoch, the generations of the keys' names, and the entries. An entry is
valid if its stamps are equal to what was read beside it. What changes anything is a script
(`redis_scripts`), sent once and never again: `TierUnavailable` says that nobody knows whether it
was carried out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from cascada.codecs.envelope import pack_around, unpack
from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import is_own, key_name
from cascada.tiers import redis_scripts
from cascada.tiers.base import (
    L1_LEASE,
    Barred,
    Bearers,
    Busy,
    Filled,
    Found,
    Holding,
    Invalidation,
    Lease,
    Missing,
    TierName,
    Usage,
    with_keys,
)
from cascada.tiers.redis_batch import Batcher
from cascada.tiers.redis_calls import Calls
from cascada.tiers.redis_data import RedisData
from cascada.tiers.redis_hearing import Hearing
from cascada.tiers.redis_holding import holding
from cascada.tiers.redis_layout import (
    GENERATION_MS,
    LAYOUT,
    LEASE_MS,
    MAX_STAMPS,
    NEWER,
    NONCE,
    PERMANENT_MS,
    TOKEN,
    Layout,
    ServerError,
    generations_of,
)
from cascada.tiers.redis_link import Argument, Link, Wire, pool_of
from cascada.tiers.redis_reads import Reads
from cascada.tiers.redis_rights import NO_SCRIPTS, Rights, find_out

logger = logging.getLogger("cascada")

_UNKNOWN: Final = b"unknown!"
"""The epoch of a miss that saw none: equal to no real one, so that its fence always refuses."""

_ASK_AGAIN: Final = (0.001, 0.002, 0.004, 0.008)
"""Pauses between looks whether all have heard of a strict invalidation; the last one repeats."""


class RedisTier:
    """See the module's text.

    `url` is any that redis-py takes (redis://, rediss://, unix://, with ACL user and password,
    database number, TLS options). Nothing is connected before `run`, which belongs to the engine's
    background; until it is, and whenever it is not, calls raise TierUnavailable at once.
    """

    name: TierName = "l2"

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        clock: Clock,
        connect_timeout: float = 20.0,
        silence: float = 5.0,
        password: str | None = None,
        layout: int = LAYOUT,
    ) -> None:
        self._connect_timeout, self._silence = connect_timeout, silence
        self._pool = pool_of(url, password)
        self.layout = self._layout = Layout(namespace, self._pool.database, layout)
        self.hearing = Hearing()
        self._link = self.make_link(greet=self._greet)
        self.data = RedisData(self._link, self._layout)
        self._reads = Reads(self._layout, Batcher(self._link), clock)
        self._calls = Calls(self._link)
        self._time = clock.time
        self._rights = Rights(b"")
        self._said: set[str] = set()

    @property
    def run_id(self) -> bytes:
        """Which server process the connection leads to; empty before the first one."""
        return self._rights.run_id

    async def read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        self._need_scripts()
        try:
            return await self._reads.read(keys, self.run_id)
        except Barred as error:
            self._say(str(error))
            raise

    async def holding(self, key: Key) -> Holding | None:
        """What is stored under a key, valid or not."""
        return await holding(self._calls.command, self._layout, key, self.run_id)

    # --- leases and fills ---------------------------------------------------------------------

    async def lease(
        self, keys: Sequence[Key], seen: Sequence[Found | Missing | None], *, force: bool = False
    ) -> list[Lease | Found | Busy]:
        asked = [
            self._acquire(key, answer, force=force) for key, answer in zip(keys, seen, strict=True)
        ]
        return list(await asyncio.gather(*asked))

    async def fill(self, leases: Sequence[Lease], entries: Sequence[Entry | None]) -> list[Filled]:
        sent = [self._fill(lease, entry) for lease, entry in zip(leases, entries, strict=True)]
        return list(await asyncio.gather(*sent))

    async def renew(self, leases: Sequence[Lease]) -> None:
        if leases:
            keys = [self._layout.lease(lease.key) for lease in leases]
            tokens = [lease.token for lease in leases]
            await self._calls.run(redis_scripts.RENEW, keys, [LEASE_MS, *tokens])

    async def _acquire(
        self, key: Key, seen: Found | Missing | None, *, force: bool
    ) -> Lease | Found | Busy:
        self._need_scripts()
        layout, names = self._layout, generations_of(key)
        token = os.urandom(TOKEN)
        # A set does not wait for others.
        released = None if force else self.hearing.expect(key.text)
        # Only a `set` is fenced: a load's value is read after its lease, whatever was seen before.
        fence = seen if force else None
        reply = await self._calls.run(
            redis_scripts.ACQUIRE,
            [
                *layout.common,
                layout.entry(key),
                layout.lease(key),
                layout.waiting(key),
                *map(layout.generation, names),
            ],
            [
                token,
                self.run_id,
                b"%04d" % layout.number,
                os.urandom(NONCE),
                b"1" if force else b"0",
                created_bytes(seen.entry) if isinstance(seen, Found) else b"",
                LEASE_MS,
                b"" if fence is None else fence.epoch or _UNKNOWN,
                0 if fence is None else fence.q,
                layout.generation(""),
                key_name(key),
                *names,
            ],
        )
        match reply:
            case [b"LEASE", int(q), bytes(granted)]:
                # Names that only the fill brings are checked from the miss on as well.
                return Lease(key, q if fence is None else fence.q, token + granted, forced=force)
            case [b"FENCED", int(q)]:
                return Lease(key, q, b"", forced=force)  # void: its fill stores nothing
            case [b"FOUND", int(q), bytes(nonce), bytes(blob)]:
                return Found(unpack(blob)[0], q, nonce)
            case [b"BUSY", int(left)]:
                assert released is not None
                return self.hearing.busy(released, max(left, 1) / 1000)
            case _:
                raise Barred(NEWER % layout.epoch.decode())

    async def _fill(self, lease: Lease, entry: Entry | None) -> Filled:
        layout, key = self._layout, lease.key
        static = generations_of(key)
        late = () if entry is None else entry.names
        if 1 + len(static) + len(late) > MAX_STAMPS:
            released = await self._fill(lease, None)
            return Filled(accepted=False, q=released.q)
        before, after, life = b"", b"", 1
        if entry is not None:
            before, after = pack_around(entry, 1 + len(static) + len(late))
            left = entry.expires - self._time()
            life = PERMANENT_MS if math.isinf(left) else max(1, math.ceil(left * 1000))
            self._reads.hint(key, entry.names)
        accepted, q, nonce = await self._calls.run(
            redis_scripts.FILL,
            [
                *layout.common,
                layout.entry(key),
                layout.lease(key),
                layout.waiting(key),
                layout.generation(key_name(key)),
                layout.version(key),
                *map(layout.generation, (*static, *late)),
            ],
            [
                lease.token,
                lease.q,
                self.run_id,
                os.urandom(NONCE),
                len(static),
                before,
                after,
                life,
                max(GENERATION_MS, 2 * life),
                key_name(key) if lease.forced else b"",
                b"0" if entry is None else b"1",
                layout.channel,
                key.text,
                b"%04d" % layout.number,
                b"" if entry is None or entry.version is None else entry.version,
                bytes(48 + is_own(key, name) for name in late),
                *late,
            ],
        )
        if lease.forced and nonce:
            self.hearing.met(nonce)
        return Filled(bool(accepted), q)

    # --- invalidation -------------------------------------------------------------------------

    async def invalidate(self, names: Sequence[str], *, strict: bool = False) -> Invalidation:
        """`strict`: whoever hears of it is asked to say so, for `acknowledged`."""
        if not self._rights.scripts:
            return await self._invalidate_everything(names)
        layout = self._layout
        keys = [name for name in names if name.startswith("k:")]
        groups = [name for name in names if not name.startswith("k:")]
        parsed = [Key.parse(name[2:]) for name in keys]
        borne: list[Argument] = []
        for key in parsed:
            statics = generations_of(key)
            borne += (len(statics), *statics)
        q, receivers, nonce, counts = await self._calls.settled(
            redis_scripts.INVALIDATE,
            [
                *layout.common,
                *(each for key in parsed for each in (layout.entry(key), layout.lease(key))),
                # What was made from a key bears that key's name as well.
                *map(layout.generation, (*keys, *groups)),
            ],
            [
                self.run_id,
                b"%04d" % layout.number,
                os.urandom(NONCE),
                layout.channel,
                len(keys),
                b"s" if strict else b"i",
                layout.generation(""),
                len(names),
                *keys,
                *groups,
                *borne,
            ],
        )
        self.hearing.met(nonce)
        reached = {
            name: Bearers(counts[2 * at], counts[2 * at + 1])
            for at, name in enumerate((*keys, *groups))
        }
        exact = not groups and not any(each.made for each in reached.values())
        total = sum(map(sum, reached.values()))
        bearers = tuple(reached[name] for name in names)
        return Invalidation(total, exact, q, receivers, nonce, bearers)

    async def bearers(self, names: Sequence[str]) -> list[Bearers]:
        found = await self.read([Key.parse(name[2:]) for name in names if name.startswith("k:")])
        stored = await self._calls.command(b"MGET", *map(self._layout.generation, names))
        return with_keys(names, [_counted(generation) for generation in stored], found)

    async def acknowledged(self, told: Invalidation) -> None:
        """Wait until all processes that were sent it have applied it; at most one L1 lease.

        By then nobody trusts a memory that has not heard of it.
        """
        pauses = iter(_ASK_AGAIN)
        pause = 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(L1_LEASE):
                while True:
                    if told.receivers >= 0:
                        with suppress(TierUnavailable, ServerError):
                            key = self._layout.applied(told.epoch, told.q)
                            if int(await self._calls.command(b"GET", key) or 0) >= told.receivers:
                                return
                    pause = next(pauses, pause)
                    await asyncio.sleep(pause)

    async def _invalidate_everything(self, names: Sequence[str]) -> Invalidation:
        """Without scripts: a new epoch, by the one command that needs none.

        Nothing that Redis holds is valid then, for anybody. Who may not be told by a push reads
        `e` at his next heartbeat.
        """
        layout = self._layout
        gone = self._link.send(b"UNLINK", layout.epoch)
        said = b"i" + os.urandom(NONCE) + b"0\n" + "\n".join(names).encode()
        with suppress(TierUnavailable):
            self._link.send(b"PUBLISH", layout.channel, said)
        try:
            await asyncio.shield(gone)
        except ServerError as error:
            raise TierUnavailable(f"Redis refused to invalidate: {error}") from error
        self.hearing.on_another_epoch()
        return Invalidation(0, exact=False, q=0, receivers=-1)

    async def usage(self) -> Usage:
        try:
            memory = await self._calls.command(b"INFO", b"memory")
            size = await self._calls.command(b"DBSIZE")
            stats = await self._calls.command(b"INFO", b"stats")
        except ServerError as error:
            raise Barred(f"Redis does not tell how full it is: {error}") from error
        used, limit = _field(memory, b"used_memory"), _field(memory, b"maxmemory")
        return Usage(size, used, limit, _field(stats, b"evicted_keys"))

    async def run(self) -> None:
        """Stay connected, for ever. What an event loop before has left under way is forgotten."""
        self._begin_anew()
        await self._link.run()

    def make_link(self, **hooks: Any) -> Link:
        """Another connection to the same server, for the feed."""
        return Link(
            self._pool, connect_timeout=self._connect_timeout, silence=self._silence, **hooks
        )

    async def up(self) -> None:
        """Wait until there is a connection."""
        await self._link.up.wait()

    def forget(self) -> None:
        """After a fork: the connections are the parent's."""
        self._link.forget()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._calls = Calls(self._link)
        self.hearing.forget()
        self._reads.forget(Batcher(self._link))

    async def aclose(self) -> None:
        """The connections end with `run`; there is nothing to flush."""
        await self._pool.aclose()
        self._reads.forget(Batcher(self._link))

    async def _greet(self, wire: Wire) -> None:
        self._rights = rights = await find_out(wire, self._layout)
        for sentence in rights.wanting:
            self._say(sentence)
        if not rights.scripts:
            # Memory above cannot be filled any more; what is there came from a better time.
            self.hearing.on_another_epoch()

    def _need_scripts(self) -> None:
        if not self._rights.scripts:
            raise Barred(NO_SCRIPTS)

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            logger.warning("%s: %s", self.name, sentence)


def created_bytes(entry: Entry) -> bytes:
    """An entry's creation as its header has it, to tell it from a newer one in a script."""
    return struct.pack("<q", round(entry.created * 1000))


def _counted(generation: bytes | None) -> Bearers:
    own, _, made = (generation or b"")[NONCE:].partition(b":")
    return Bearers(int(own or 0), int(made or 0))


def _field(info: bytes, name: bytes) -> int:
    found = re.search(rb"^" + name + rb":(\d+)", info, re.MULTILINE)
    return int(found.group(1)) if found else 0
