"""The Redis tier (L2): validated reads, leases, fills and invalidations.

A read is one MGET: the epoch, the generations of the keys' names, and the entries. An entry is
valid if its stamps are equal to what was read beside it. What changes anything is a script
(`redis_scripts`), sent once and never again: `TierUnavailable` says that nobody knows whether it
was carried out.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import re
import struct
from collections.abc import Sequence
from typing import Any, Final

from cascada.codecs.envelope import pack_around, unpack
from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.tiers import redis_scripts
from cascada.tiers.base import (
    Busy,
    Filled,
    Found,
    Holding,
    Invalidation,
    Lease,
    Missing,
    TierName,
    Usage,
)
from cascada.tiers.redis_batch import Batcher
from cascada.tiers.redis_holding import holding
from cascada.tiers.redis_layout import (
    GENERATION_MS,
    LAYOUT,
    LEASE_MS,
    NONCE,
    PERMANENT_MS,
    TOKEN,
    Layout,
    ServerError,
    generations_of,
    run_id_of,
)
from cascada.tiers.redis_link import Argument, Link, Wire, pool_of
from cascada.tiers.redis_reads import Reads

POLL_BUSY: Final = 0.008
"""Seconds after which a caller that waits for another process's load asks again."""

_UNKNOWN: Final = b"unknown!"
"""The epoch of a miss that saw none: equal to no real one, so that its fence always refuses."""

_SCRIPTS: Final = {
    "acquire": redis_scripts.ACQUIRE,
    "fill": redis_scripts.FILL,
    "renew": redis_scripts.RENEW,
    "invalidate": redis_scripts.INVALIDATE,
}


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
    ) -> None:
        self._connect_timeout, self._silence = connect_timeout, silence
        self._pool = pool_of(url, password)
        self.layout = self._layout = Layout(namespace, self._pool.database)
        self._link = self.make_link(greet=self._greet)
        self._reads = Reads(self._layout, Batcher(self._link), clock)
        self._settling: asyncio.Future[None] | None = None
        self._time = clock.time
        self._scripts = {
            name: (hashlib.sha1(text.encode()).hexdigest(), text) for name, text in _SCRIPTS.items()
        }
        self.run_id = b""

    async def read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        return await self._reads.read(keys, self.run_id)

    async def holding(self, key: Key) -> Holding | None:
        """What is stored under a key, valid or not."""
        return await holding(self._command, self._layout, key, self.run_id)

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
            await self._run("renew", keys, [LEASE_MS, *tokens])

    async def _acquire(
        self, key: Key, seen: Found | Missing | None, *, force: bool
    ) -> Lease | Found | Busy:
        layout, names = self._layout, generations_of(key)
        token = os.urandom(TOKEN)
        # Only a `set` is fenced: a load's value is read after its lease, whatever was seen before.
        fence = seen if force else None
        reply = await self._run(
            "acquire",
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
                b"%04d" % LAYOUT,
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
                return Busy(min(max(left, 1) / 1000, POLL_BUSY))
            case _:
                raise TierUnavailable(
                    "a newer version of cascada has changed the layout in Redis; "
                    "this process goes on without it"
                )

    async def _fill(self, lease: Lease, entry: Entry | None) -> Filled:
        layout, key = self._layout, lease.key
        static = generations_of(key)
        late = () if entry is None else entry.names
        before, after, life = b"", b"", 1
        if entry is not None:
            before, after = pack_around(entry, 1 + len(static) + len(late))
            left = entry.expires - self._time()
            life = PERMANENT_MS if math.isinf(left) else max(1, math.ceil(left * 1000))
            self._reads.hint(key, entry.names)
        accepted, q = await self._run(
            "fill",
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
                b"%04d" % LAYOUT,
                b"" if entry is None or entry.version is None else entry.version,
                *late,
            ],
        )
        return Filled(bool(accepted), q)

    # --- invalidation -------------------------------------------------------------------------

    async def invalidate(self, names: Sequence[str]) -> Invalidation:
        layout = self._layout
        keys = [name for name in names if name.startswith("k:")]
        groups = [name for name in names if not name.startswith("k:")]
        parsed = [Key.parse(name[2:]) for name in keys]
        gone, bearers, q = await self._settled(
            "invalidate",
            [
                *layout.common,
                *(each for key in parsed for each in (layout.entry(key), layout.lease(key))),
                # What was made from a key bears that key's name as well.
                *map(layout.generation, (*keys, *groups)),
            ],
            [
                self.run_id,
                b"%04d" % LAYOUT,
                os.urandom(NONCE),
                layout.channel,
                len(keys),
                *keys,
                *groups,
            ],
        )
        return Invalidation(gone + bearers, exact=not groups and not bearers, q=q)

    async def usage(self) -> Usage:
        memory = await self._command(b"INFO", b"memory")
        size = await self._command(b"DBSIZE")
        stats = await self._command(b"INFO", b"stats")
        used, limit = _field(memory, b"used_memory"), _field(memory, b"maxmemory")
        return Usage(size, used, limit, _field(stats, b"evicted_keys"))

    async def run(self) -> None:
        """Stay connected, for ever."""
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
        self._reads.forget(Batcher(self._link))

    async def aclose(self) -> None:
        """The connections end with `run`; there is nothing to flush."""
        self._reads.forget(Batcher(self._link))

    async def _greet(self, wire: Wire) -> None:
        self.run_id = run_id_of(await wire.send((b"INFO", b"server")))
        begin: list[Argument] = [self.run_id, b"%04d" % LAYOUT, os.urandom(NONCE)]
        keys = self._layout.common
        await wire.send((b"EVAL", redis_scripts.BEGIN, len(keys), *keys, *begin))

    # --- the wire -----------------------------------------------------------------------------

    async def _run(self, name: str, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run a script once. A server that does not know it yet has not run it."""
        digest, text = self._scripts[name]
        try:
            return await self._command(b"EVALSHA", digest, len(keys), *keys, *arguments)
        except ServerError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise TierUnavailable(f"Redis refused {name}: {error}") from error
        try:
            return await self._command(b"EVAL", text, len(keys), *keys, *arguments)
        except ServerError as error:
            raise TierUnavailable(f"Redis refused {name}: {error}") from error

    async def _settled(
        self, name: str, keys: Sequence[Argument], arguments: Sequence[Argument]
    ) -> Any:
        """Run a script that publishes, and wait until its message has left the server.

        A server writes what it has published before it reads the next commands. So one PING that
        is sent after the script's reply settles it; calls in one turn of the loop share it.
        """
        reply = await self._run(name, keys, arguments)
        if self._settling is None:
            self._settling = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self._ping, self._settling)
        await asyncio.shield(self._settling)
        return reply

    def _ping(self, settling: asyncio.Future[None]) -> None:
        self._settling = None
        try:
            reply = self._link.send(b"PING")
        except TierUnavailable:
            settling.set_result(None)  # the message is on its way; the feed knows when it is not
            return
        reply.add_done_callback(lambda _: None if settling.done() else settling.set_result(None))

    async def _command(self, *command: Argument) -> Any:
        # Shielded: a cancelled caller's reply is still read, by the wire, and dropped.
        return await asyncio.shield(self._link.send(*command))


def created_bytes(entry: Entry) -> bytes:
    """An entry's creation as its header has it, to tell it from a newer one in a script."""
    return struct.pack("<q", round(entry.created * 1000))


def _field(info: bytes, name: bytes) -> int:
    found = re.search(rb"^" + name + rb":(\d+)", info, re.MULTILINE)
    return int(found.group(1)) if found else 0
