"""`cascada top --keys`: the largest values that the lower tiers hold, by key.

It looks into the tiers that the environment describes, past all that is read there: nothing counts
as a use. Redis has no order of sizes, so all names of the namespace are walked over, for so long.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from heapq import heappushpop, nlargest
from pathlib import Path
from typing import Any, Final

from cascada.api.settings import cache_arguments
from cascada.api.urls import sqlite_path
from cascada.cli.database_checks import connected
from cascada.model.door.secret import hidden
from cascada.model.errors import InvalidSettings, TierUnavailable
from cascada.tiers.redis.layout import Layout
from cascada.tiers.redis_client.server import Server, server_of
from cascada.tiers.redis_client.wire import Wire

WALKING: Final = 30.0
"""Seconds that Redis is walked over."""

CONNECTING: Final = 5.0
"""Seconds that Redis may be silent."""

PAGE: Final = 500
_FORMS: Final = b"*:{b0}:[vb]:*"

Found = tuple[int, str, str]
"""Bytes as they are stored, the tier's name, the key."""

_ROWS: Final = """
SELECT e.size, 'l3', e.key FROM entries e JOIN tenants t ON t.id = e.tenant
WHERE t.namespace = ? ORDER BY e.size DESC LIMIT ?
"""


def largest(most: int) -> str:
    """A table of so many. InvalidSettings without lower tiers, TierUnavailable if one is away."""
    said = cache_arguments()
    redis, database = said.get("redis"), said.get("database")
    if redis is None and database is None:
        raise InvalidSettings("there is no tier to look into; set REDIS_URL or CACHE_DATABASE_URL")
    found: list[Found] = []
    notes: list[str] = []
    if redis is not None:
        server = server_of(redis, said.get("redis_password"))
        values, whole = asyncio.run(_in_redis(server, said["namespace"], most))
        found += values
        if not whole:
            notes.append(f"Redis has more names than {WALKING:.0f} s were enough for.")
    if database is not None:
        found += _in_database(Path(sqlite_path(hidden(database)) or ""), said["namespace"], most)
    rows = [(f"{size / 1e6:.3f}", tier, key) for size, tier, key in nlargest(most, found)]
    width = max((len(row[0]) for row in rows), default=0)
    lines = [f"{size.rjust(max(width, 2))}  {tier}    {key}" for size, tier, key in rows]
    return "\n".join([f"{'MB'.rjust(max(width, 2))}  layer  key", *lines, *notes])


def _in_database(path: Path, namespace: str, most: int) -> list[Found]:
    if not path.is_file():
        return []
    try:
        with closing(connected(path)) as connection:
            rows: list[Found] = connection.execute(_ROWS, (namespace, most)).fetchall()
            return rows
    except sqlite3.Error as error:
        raise TierUnavailable(f"the database cannot be read: {error}") from error


async def _in_redis(server: Server, namespace: str, most: int) -> tuple[list[Found], bool]:
    """What is found, and whether all was looked at."""
    layout = Layout(namespace, server.database)
    kept: list[Found] = [(-1, "", "")] * most
    wire: Wire | None = None
    whole = False
    try:
        async with asyncio.timeout(CONNECTING):
            wire = await server.open()
            await server.greet(wire)
        until = asyncio.get_running_loop().time() + WALKING
        async for names in _pages(wire, layout):
            async with asyncio.timeout(CONNECTING):
                sizes = await asyncio.gather(*(wire.send((b"STRLEN", name)) for name in names))
            for name, size in zip(names, sizes, strict=True):
                heappushpop(kept, (size, "l2", _key_of(name, layout)))
            if asyncio.get_running_loop().time() >= until:
                break
        else:
            whole = True
    except (OSError, TierUnavailable, TimeoutError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else server.said(error)
        raise TierUnavailable(f"Redis cannot be looked into: {why}") from None
    finally:
        if wire is not None:
            wire.close("it has been looked into")
    return [each for each in kept if each[0] >= 0], whole


async def _pages(wire: Wire, layout: Layout) -> AsyncIterator[list[bytes]]:
    """Entries, and the payloads that lie beside them (`tiers.redis.layout`)."""
    cursor, ours = b"0", (layout.prefix + b"v:", layout.prefix + b"b:")
    while True:
        async with asyncio.timeout(CONNECTING):
            answer: Any = await wire.send((b"SCAN", cursor, b"MATCH", _FORMS, b"COUNT", PAGE))
        cursor, names = answer
        yield [name for name in names if name.startswith(ours)]
        if cursor == b"0":
            return


def _key_of(name: bytes, layout: Layout) -> str:
    text = name[len(layout.prefix) + 2 :].decode(errors="replace")
    return text if name[len(layout.prefix) :].startswith(b"v:") else text.rpartition(":")[0]
