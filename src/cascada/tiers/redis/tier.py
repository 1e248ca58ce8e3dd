"""The Redis tier (L2): validated reads, leases, fills and invalidations.

A read is one MGET: the epoch, the generations of the keys' names, and the entries. An entry is
valid if its stamps are equal to what was read beside it. What changes anything is a script
(`redis_scripts`), sent once and never again: `TierUnavailable` says that nobody knows whether it
was carried out.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from cascada.model.clock import Clock
from cascada.model.door.secret import Secret, Url
from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import OF_ONE_KEY
from cascada.tiers.capabilities import L1_LEASE, Ending, InvalidationSink, Stored
from cascada.tiers.contract import (
    NOTHING,
    Busy,
    EntryCount,
    Filled,
    Found,
    Invalidation,
    Lease,
    Missing,
    NotPermitted,
    Renewed,
    Seen,
    Touched,
    Usage,
    with_keys,
)
from cascada.tiers.redis import script_replies
from cascada.tiers.redis.datastore import RedisData
from cascada.tiers.redis.erasing import RedisErasing
from cascada.tiers.redis.feed import PushFeed
from cascada.tiers.redis.inspect import WalksKeys, evictions, holding
from cascada.tiers.redis.journal import RedisJournal
from cascada.tiers.redis.large_payloads import AT_ONCE, PATIENCE, Aside
from cascada.tiers.redis.layout import LAYOUT, NONCE, Layout
from cascada.tiers.redis.lease_releases import LeaseReleases
from cascada.tiers.redis.permissions import NO_SCRIPTS, Rights, find_out
from cascada.tiers.redis.reads import Reads
from cascada.tiers.redis.renewal import Renewal
from cascada.tiers.redis.room import Room
from cascada.tiers.redis.touching import Touching
from cascada.tiers.redis.wrapped_keys import RedisKeys
from cascada.tiers.redis.writes import Leases
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.lanes import Lanes
from cascada.tiers.redis_client.server import server_of
from cascada.tiers.redis_client.wire import Wire
from cascada.tiers.redis_scripts import steps as redis_steps

logger = logging.getLogger("cascada")

_ASK_AGAIN: Final = (0.001, 0.002, 0.004, 0.008)
"""Pauses between looks whether all have heard of a strict invalidation; the last one repeats."""

LOOK_AGAIN: Final = 1.0
"""Seconds between looks whether scripts are allowed by now."""


class RedisTier(WalksKeys):
    """See the module's text.

    `url` is redis://, rediss://, unix:// or redis+sentinel://, with ACL user and password, database
    number and the options of TLS (`urls`). Nothing is connected before `run`, which belongs to the
    engine's background; until it is, and whenever it is not, calls raise TierUnavailable at once.
    """

    name: str = "l2"

    def __init__(
        self,
        url: str | Url,
        *,
        namespace: str,
        clock: Clock,
        connect_timeout: float = 20.0,
        silence: float = 5.0,
        max_connections: int = 50,
        pool_timeout: float = 30.0,
        password: str | Secret | None = None,
        capacity_bytes: int = 0,
        layout: int = LAYOUT,
    ) -> None:
        self._connect_timeout, self._silence = connect_timeout, silence
        self._server = server_of(url, password)
        self.layout = self._layout = Layout(namespace, self._server.database, layout)
        self.hearing = LeaseReleases()
        self._feed: PushFeed | None = None
        self._link = self.make_link(greet=self._greet)
        lanes = partial(Lanes, self._server, self._link)
        self._lanes = lanes(what="lists and counters", most=max_connections, patience=pool_timeout)
        self._large = lanes(what="large values", most=AT_ONCE, patience=PATIENCE)
        self._room = Room(self._layout, self._link, capacity_bytes, lambda: self.run_id)
        self.tend = self._room.run
        self._aside = Aside(self._layout, self._large, self._room)
        self.data = RedisData(self._link, self._lanes, self._layout)
        self.wrapped_keys = RedisKeys(self._layout, self._link)
        self.erasing = RedisErasing(self._layout, self._link, lambda: self.run_id)
        renewal = Renewal(self._layout, self._link, self._aside)
        self._reads = Reads(self._layout, self._link, renewal, clock)
        self._now = clock.time
        self._leases = Leases(
            self._layout,
            self._link,
            self._large,
            self._aside,
            self.hearing,
            self._room,
            now=self._now,
            hint=self._reads.hint,
            dated=self._reads.dated,
            numbered_in=self._numbered_in,
        )
        self._touching = Touching(
            self._layout, self._link, self._aside,
            now=self._now, glance=self.glance, numbered_in=self._numbered_in,
        )  # fmt: skip
        self._rights = Rights(b"")
        self._look_again = 0.0
        self._said: set[str] = set()

    @property
    def run_id(self) -> bytes:
        """Which server process the connection leads to; empty before the first one."""
        return self._rights.run_id

    @property
    def corrupt(self) -> int:
        """Damaged entries that were come upon."""
        return self._reads.corrupt + self._leases.corrupt

    async def read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        answers = await self.glance(keys)
        whole = await self._aside.whole(keys, answers)
        if whole == answers or all(
            isinstance(now, Found) or isinstance(before, Missing)
            for now, before in zip(whole, answers, strict=True)
        ):
            return whole
        # A payload was gone: mostly since its entry was replaced, so that there is a value.
        return await self._aside.whole(keys, await self.glance(keys))

    async def glance(self, keys: Sequence[Key]) -> list[Found | Missing]:
        if not self._rights.scripts:
            await self._need_scripts()
        try:
            return await self._reads.read(keys, self._rights.run_id)
        except NotPermitted as error:
            self._say(str(error))
            raise

    def journal_of(self, name: str) -> RedisJournal:
        mine = self._layout, self._link, self._leases, lambda: self.run_id
        return RedisJournal(name, *mine, now=self._now, dated=self._reads.dated)

    async def holding(self, key: Key) -> Stored | None:
        """What is stored under a key, valid or not."""
        held = await holding(self._link.ask, self._layout, key, self.run_id)
        if held is None:
            return None
        (found,) = await self._aside.whole([key], [Found(held.entry, 0)])
        return replace(held, entry=found.entry) if isinstance(found, Found) else None

    async def ended(self, names: Sequence[str]) -> Ending | None:
        """The latest invalidation of one of the names, as far as the rings go back."""
        place, ago = await redis_steps.ENDED.run(
            self._link.ask,
            [*self._layout.common, self._layout.times],
            [name.encode() for name in names],
            script_replies.ended(len(names)),
        )
        return Ending(names[place - 1], max(0, ago) / 1000) if place else None

    # --- leases and fills ---------------------------------------------------------------------

    async def lease(
        self,
        keys: Sequence[Key],
        seen: Sequence[Seen],
        *,
        force: bool = False,
        once: bool = False,
        digests: Sequence[bytes] = (),
    ) -> list[Lease | Found | Busy]:
        if not self._rights.scripts:
            await self._need_scripts()
        asked = list(zip(keys, seen, strict=True))
        if once:
            return [*self._leases.once(asked)]
        return await self._leases.acquire(self._rights.run_id, asked, force=force, tokens=digests)

    def fill(
        self, leases: Sequence[Lease], entries: Sequence[Entry | None]
    ) -> Coroutine[Any, Any, list[Filled]]:
        return self._leases.fill(self._rights.run_id, leases, entries)

    async def renew(self, leases: Sequence[Lease]) -> None:
        if leases:
            await self._leases.renew(leases)

    async def touch(self, key: Key, renewed: Renewed, *, below: bool = False) -> Touched:
        return await self._touching.touch(self._rights.run_id, key, renewed, below=below)

    # --- invalidation -------------------------------------------------------------------------

    async def invalidate(self, names: Sequence[str], *, strict: bool = False) -> Invalidation:
        """`strict`: whoever hears of it is asked to say so, for `acknowledged`."""
        if not self._rights.scripts:
            return await self._invalidate_everything(names)
        layout = self._layout
        keys: list[bytes] = []
        groups: list[bytes] = []
        own: list[bytes] = []
        for name in names:
            encoded = name.encode()
            if name.startswith(OF_ONE_KEY):
                keys.append(encoded)
                own += layout.fill_keys(encoded[2:])[:2]
            else:
                groups.append(encoded)
        ordered = keys + groups
        # A key's own generation as well: what was made from the key bears its name.
        generations = [layout.generations + each for each in ordered]
        seq, receivers, nonce, reached, total, journaled = await redis_steps.INVALIDATE.run(
            self._link.ask,
            [*layout.common, *own, *generations],
            [
                self._rights.run_id,
                b"%04d" % layout.number,
                os.urandom(NONCE),
                layout.channel,
                len(keys),
                b"s" if strict else b"i",
                layout.generations,
                *ordered,
            ],
            script_replies.invalidated(len(ordered)),
        )
        self._numbered_in(nonce)
        # Who else was sent it must have it before this returns. A lone process waits for nobody.
        if receivers > self._heard(nonce, seq):
            await self._link.settle()
        exact, counts = not groups, (NOTHING,) * len(names)
        if reached:
            found = {
                ordered[at - 1]: EntryCount(says, made)
                for at, says, made in zip(reached[::3], reached[1::3], reached[2::3], strict=True)
            }
            exact = exact and not any(reached[2::3])
            counts = tuple([found.get(name.encode(), NOTHING) for name in names])
        return Invalidation(total, exact, seq, receivers, nonce, counts, journaled)

    async def count_entries(self, names: Sequence[str]) -> list[EntryCount]:
        found = await self.glance([Key.parse(name[2:]) for name in names if name.startswith("k:")])
        stored = await self._link.ask(b"MGET", *map(self._layout.generation, names))
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
                        # ValueError: no number. Nobody wrote it there but another user of the keys.
                        with suppress(TierUnavailable, ValueError):
                            key = self._layout.applied(told.epoch, told.seq)
                            if int(await self._link.ask(b"GET", key) or 0) >= told.receivers:
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
        await asyncio.shield(gone)
        self._numbered_in(None)
        return Invalidation(0, exact=False, seq=0, receivers=-1)

    async def usage(self) -> Usage:
        """Of this namespace's own entries; `evictions`, which nobody can tell apart, of all that
        the server holds. What has expired since it was counted (seconds ago, or minutes if there is
        much) is still in it."""
        return await self._room.usage(await evictions(self._link.ask))

    async def run(self) -> None:
        """Stay connected, for ever. What an event loop before has left under way is forgotten."""
        self._begin_anew()
        self._close_lanes()  # of an event loop before
        try:
            await self._link.run()
        finally:
            self._close_lanes()

    def _close_lanes(self) -> None:
        self._lanes.close()
        self._large.close()

    def make_link(self, **hooks: Any) -> Link:
        """Another connection to the same server, for the feed."""
        return Link(
            self._server, connect_timeout=self._connect_timeout, silence=self._silence, **hooks
        )

    def make_feed(
        self,
        sink: InvalidationSink,
        clock: Clock,
        *,
        timeout: float | None = None,
        on_error: Callable[[str], None] = lambda why: None,
    ) -> PushFeed:
        """The feed of what is published; its connection says itself what fails."""
        self._feed = PushFeed(self, sink, clock)
        return self._feed

    def _heard(self, nonce: bytes, seq: int) -> bool:
        """Whether this process's own feed was sent this very invalidation, and has applied it."""
        return self._feed is not None and self._feed.heard == (nonce, seq)

    def _numbered_in(self, nonce: bytes | None) -> None:
        if self._feed is not None:
            self._feed.numbered_in(nonce)

    async def up(self) -> None:
        """Wait until there is a connection."""
        await self._link.up.wait()

    def forget(self) -> None:
        """After a fork: the connections are the parent's."""
        self._link.forget()
        self._lanes.forget()
        self._large.forget()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.hearing.forget()
        self._aside.forget()
        self._reads.forget()

    async def aclose(self) -> None:
        """The connections end with `run`; there is nothing to flush."""
        self._reads.forget()

    async def _greet(self, wire: Wire) -> None:
        self._look_again = asyncio.get_running_loop().time() + LOOK_AGAIN
        self._rights = rights = await find_out(wire, self._layout)
        for sentence in rights.wanting:
            self._say(sentence)
        if not rights.scripts:
            # Memory above cannot be filled any more; what is there came from a better time.
            self._numbered_in(None)

    async def _need_scripts(self) -> None:
        """NotPermitted without them.

        They are looked for once more now and then, since a user may be given rights while the
        connection stands, and a server says odd things while it starts."""
        if not self._rights.scripts and asyncio.get_running_loop().time() >= self._look_again:
            await self._greet(self._link.need())
        if not self._rights.scripts:
            raise NotPermitted(NO_SCRIPTS)

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            logger.warning("%s: %s", self.name, sentence)


def _counted(generation: bytes | None) -> EntryCount:
    found = re.match(rb"(\d{1,15}):(\d{1,15})$", (generation or b"")[NONCE:])
    return NOTHING if found is None else EntryCount(int(found[1]), int(found[2]))
