"""What the tests of the SQLite tier share: a file, a clock, and tiers that play processes.

Two tiers on one file have connections of their own and know nothing of each other, so that for the
database they are two processes; `test_sqlite_processes.py` does the same with real ones.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import static_names
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsideSqlite
from cascada.tiers.contract import Filled, Found, Lease, Missing
from cascada.tiers.sqlite.tier import SqliteTier


def key(
    resource: object = "1",
    *,
    tenant: str = "acme",
    data_type: str = "document",
    agent: str | None = None,
    conversation: str | None = None,
) -> Key:
    return Key(tenant, data_type, agent, conversation, None, str(resource))


def entry(
    value: bytes = b"value",
    *,
    expires: float = math.inf,
    names: tuple[str, ...] = (),
    version: int | None = None,
) -> Entry:
    return Entry(value, created=1.0, expires=expires, names=names, version=version)


class World:
    """A database file in a folder of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.tiers: list[SqliteTier] = []

    def tier(self, path: Path | None = None, **options: Any) -> SqliteTier:
        tier = SqliteTier(
            path or self.path,
            **{"namespace": "test", "clock": self.clock, "busy_timeout": 5.0, **options},
        )
        self.tiers.append(tier)
        return tier

    async def close(self) -> None:
        for tier in self.tiers:
            await tier.aclose()

    @property
    def open_files(self) -> list[str]:
        """What this process has open of it: the database, its log, its turns."""
        return open_files(self.path.parent)

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """What another program would see in the file, or do to it."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return connection.execute(text, values).fetchall()
        finally:
            connection.close()

    def check_sums(self) -> None:
        """What is kept as a running sum equals what is there."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        ask = connection.execute
        ask("BEGIN")  # a step of the upkeep may come between two questions
        try:
            rows = ask("SELECT tenant, key, q, names, size FROM entries").fetchall()
            sums = ask("SELECT entries, bytes FROM meta").fetchall()
            bumps = {(t, n): seq for t, n, seq in ask("SELECT tenant, name, q FROM tombstones")}
            floors = dict(ask("SELECT id, floor FROM tenants"))
            kept = {(t, n): rows for t, n, rows in ask("SELECT tenant, name, rows FROM counts")}
            tombstones = dict(ask("SELECT id, tombstones FROM tenants"))
            shares = dict(ask("SELECT id, bytes FROM tenants WHERE bytes > 0"))
        finally:
            connection.close()
        assert sums == [(len(rows), sum(size for *_, size in rows))]
        sizes: Counter[int] = Counter()
        for tenant, *_, size in rows:
            sizes[tenant] += size
        assert shares == sizes
        counts: Counter[tuple[int, str]] = Counter()
        for tenant, text, seq, names, _ in rows:
            own = static_names(Key.parse(text))
            for name in msgspec.json.decode(names, type=list[str]):
                bump = max(floors[tenant], bumps.get((tenant, name), 0))
                counted = name if name in own else f"+{name}"
                counts[tenant, counted] += name != f"k:{text}" and seq >= bump
        assert kept == {bearer: count for bearer, count in counts.items() if count}
        there = Counter(tenant for tenant, _ in bumps)
        assert tombstones == {tenant: there[tenant] for tenant in tombstones}


def open_files(folder: Path) -> list[str]:
    """The files in a folder that this process has open, once for each time."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # it was closed meanwhile
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.parent == folder:
                found.append(path.name)
    return found


async def grant(tier: SqliteTier, wanted: Key, *, force: bool = False) -> Lease:
    """A lease as old as a read that is made now."""
    (seen,) = await tier.read([wanted])
    (lease,) = await tier.lease([wanted], [seen], force=force)
    assert isinstance(lease, Lease)
    return lease


async def fill(tier: SqliteTier, lease: Lease, value: Entry | None) -> Filled:
    (filled,) = await tier.fill([lease], [value])
    return filled


async def load(tier: SqliteTier, wanted: Key, value: Entry | None = None) -> Filled:
    """Read, lease, fill: what a load does when nothing comes in between."""
    return await fill(tier, await grant(tier, wanted), value or entry())


async def put(tier: SqliteTier, wanted: Key, value: Entry) -> Filled:
    """What a `set` does."""
    return await fill(tier, await grant(tier, wanted, force=True), value)


async def look(tier: SqliteTier, wanted: Key) -> bytes | str:
    """The value, or why there is none."""
    (answer,) = await tier.read([wanted])
    if isinstance(answer, Found):
        return answer.entry.data
    assert isinstance(answer, Missing)
    return str(answer.why)


def pause_writer(tier: SqliteTier) -> threading.Event:
    """Hold up the writer's thread until the event is set."""
    entered, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        go_on.wait(10)

    InsideSqlite(tier).before_the_next_write(wait)
    entered.wait(10)
    return go_on
