"""Removing the bytes of a tenant or a user from Redis (`tiers/erasing`).

All keys of the namespace are gone through once, in steps of about a millisecond of the server: a
key says whose it is. What was journaled goes first of what it has to do with him, so that nobody
writes it elsewhere.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final
from urllib.parse import unquote

from cascada.model.forgotten import Removed, Whom
from cascada.tiers.contract import NotPermitted
from cascada.tiers.redis.layout import Layout, literal
from cascada.tiers.redis_client import replies
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.replies import Argument
from cascada.tiers.redis_scripts import erase as scripts

NAME: Final = "l2"

STEP: Final = 300
"""Keys of one step."""

PAUSE: Final = 0.05
"""Seconds between two steps, at most."""

AOF: Final = (
    "Redis' append-only file holds what was written until it is rewritten: run BGREWRITEAOF"
)
RDB: Final = (
    "a snapshot that Redis has saved before (dump.rdb) holds what was there: run BGSAVE, and see "
    "to copies of it, and to those of replicas"
)


class RedisErasing:
    """Of one namespace. `run_id`: of the server that the connection leads to."""

    def __init__(self, layout: Layout, link: Link, run_id: Callable[[], bytes]) -> None:
        self._layout = layout
        self._link = link
        self._run_id = run_id
        self._pattern = literal(layout.prefix)

    async def journals(self) -> list[str]:
        return [unquote(behind.decode()[1:]) for behind in await self._journals()]

    async def _journals(self) -> list[bytes]:
        """What stands behind the kind in the keys of each."""
        begins = self._layout.prefix + b"jm"
        found = await self._found(self._pattern + b"jm*")
        ends = [key[len(begins) :] for key in found]
        return [end for end in ends if not end or (end.startswith(b":") and end.isascii())]

    async def erase(
        self, whom: Whom, journaled: int, *, compact: bool | None
    ) -> AsyncGenerator[Removed]:
        his: list[Argument] = [whom.text, whom.part]
        for journal in await self._journals():
            for aside in (b"", b"x"):
                async for removed in self._changes(his, whom, journal, journaled, aside):
                    yield removed
        for _ in range(2):  # once more, where a name was met before what counted for it
            left: list[int] = []
            async for removed in self._keys(his, whom, left):
                yield removed
            if not any(left):
                break
        for ring in (b"r", b"s"):
            async for removed in self._names(his, whom, ring):
                yield removed

    async def _found(self, pattern: bytes) -> set[bytes]:
        found: set[bytes] = set()
        cursor: bytes = b"0"
        while True:
            cursor, page = await self._link.ask(
                b"SCAN", cursor, b"MATCH", pattern, b"COUNT", STEP, fits=_is_page
            )
            found.update(page)
            if cursor == b"0":
                return found
            await asyncio.sleep(0)

    async def _changes(
        self, his: list[Argument], whom: Whom, journal: bytes, until: int, aside: bytes
    ) -> AsyncGenerator[Removed]:
        bears = whom.name.encode()
        # As an entry has its dynamic names in it (`codecs.envelope`).
        mark = struct.pack("<H", len(bears)) + bears
        keys = [self._layout.epoch, self._layout.prefix + b"jp" + journal]
        cursor: bytes = b"0"
        while True:
            cursor, gone, size = await scripts.CHANGES.run(
                self._link.ask, keys, [*his, cursor, until, mark, aside], _counted(3)
            )
            yield Removed(NAME, changes=gone, size_bytes=size)
            if cursor == b"0":
                return

    async def _keys(
        self, his: list[Argument], whom: Whom, left: list[int]
    ) -> AsyncGenerator[Removed]:
        """`left`: how many names stay, since something that was set meanwhile may bear them."""
        layout = self._layout
        what: list[Argument] = [
            STEP, self._pattern + b"*", self._run_id(), b"%04d" % layout.number, layout.generations,
            whom.name,
        ]  # fmt: skip
        cursor: bytes = b"0"
        now = asyncio.get_running_loop().time
        while True:
            began = now()
            cursor, entries, size, lists, counters, others, stay = await scripts.KEYS.run(
                self._link.ask, [layout.epoch], [*his, cursor, *what], _counted(7)
            )
            left.append(stay)
            yield Removed(NAME, entries, lists, counters, 0, others, size)
            if cursor == b"0":
                return
            await asyncio.sleep(min(now() - began, PAUSE))  # as long for the others

    async def _names(self, his: list[Argument], whom: Whom, ring: bytes) -> AsyncGenerator[Removed]:
        cursor: bytes = b"0"
        while True:
            cursor, gone = await scripts.NAMES.run(
                self._link.ask,
                [self._layout.epoch],
                [*his, ring, cursor, whom.name],
                _counted(2),
            )
            yield Removed(NAME, others=gone)
            if cursor == b"0":
                return

    async def shared_lists(self) -> list[str]:
        begins = self._layout.items("")
        keys = await self._found(literal(begins) + b":*")
        return [key[len(begins) :].decode(errors="replace") for key in keys]

    async def remains(self, *, compact: bool | None) -> list[str]:
        try:
            said = await self._link.ask(b"INFO", b"persistence")
        except NotPermitted:
            return [AOF, RDB]  # nobody can tell
        never = b"rdb_saves:0\r" in said and b"rdb_last_load_keys_loaded:0\r" in said
        return [AOF] * (b"aof_enabled:0" not in said) + [RDB] * (not never)


def _is_page(reply: Any) -> bool:
    return type(reply) is list and len(reply) == 2 and replies.text(reply[0]) and (
        replies.texts(reply[1])
    )  # fmt: skip


def _counted(length: int) -> Callable[[Any], bool]:
    """A cursor, then numbers."""
    return lambda reply: (
        type(reply) is list
        and len(reply) == length
        and type(reply[0]) is bytes
        and {*map(type, reply[1:])} == {int}
    )
