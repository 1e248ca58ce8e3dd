"""The worlds of single tiers: memory alone, SQLite alone, SQLite opened by two processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import rule

from cascada.engine.kinds import Kind
from cascada.model.keys import Key
from cascada.model.policy import Policy
from cascada.testing.inside import InsideSqlite, hits_of
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.sqlite import maintenance as sqlite_upkeep
from cascada.tiers.sqlite.tier import SqliteTier
from tests.properties.machine import TierMachine, keys, which_node

T = TypeVar("T")

MUCH = 2**20
# In memory where there is such a folder: what is looked for here does not depend on a disk.
RAM = next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)

# A step of upkeep does next to nothing, so that much can come between two.
sqlite_upkeep.CHUNK = 2  # type: ignore[misc]
sqlite_upkeep.TOMBSTONES = 2  # type: ignore[misc]


class MemoryMachine(TierMachine):
    """Memory alone, with its hit path."""

    def __init__(self) -> None:
        super().__init__()
        self.run = at_once

    async def open_world(self, *, roomy: bool, forgetful: bool) -> int:
        ring = 3 if forgetful else 64
        self.tier = MemoryTier(
            self.clock,
            capacity_bytes=MUCH if roomy else 3000,
            ring=ring,
            kind_of=lambda prefix: Kind(prefix[0], prefix[1], Policy()),
        )
        self.hits = hits_of(self.tier, self.clock)
        self.nodes = [self.tier]
        return ring

    @rule(key=keys)
    def peek(self, key: Key) -> None:
        self.node(0)
        record = self.tier.records.get(key)
        hit = None if record is None else self.hits.one(record)
        load = None
        if hit is not None:
            load = self.truth.judge(int(hit.origin.data), key, self.clock.time())
            assert self.clock.time() < load.fresh_until, "a hit on what is due"
        kept = self.truth.kept.get(key)
        if self.roomy and kept is not None and self.clock.time() < kept.fresh_until:
            assert load is kept, f"LOST: {key} was accepted and is no hit"

    def look_closely(self, key: Key) -> None:
        self.peek(key)
        self.read(0, key)

    def own_trouble(self, which: int) -> None:
        self.flush()

    @rule()
    def flush(self) -> None:
        self.node(0)
        self.tier.flush()
        self.truth.forget()


class SqliteMachine(TierMachine):
    """One file, opened by `handles` tiers. Upkeep happens when a rule says so, and only then."""

    handles = 1

    async def open_world(self, *, roomy: bool, forgetful: bool) -> int:
        most = 8 if forgetful else 200
        self.folder = Path(tempfile.mkdtemp(dir=RAM))
        self.nodes = [
            open_sqlite(self.folder / "cache.db", self.clock, MUCH if roomy else 1500, most)
            for _ in range(self.handles)
        ]
        return most // 4

    def teardown(self) -> None:
        super().teardown()
        if self.nodes:
            shutil.rmtree(self.folder)

    def own_trouble(self, which: int) -> None:
        self.keep_up(which, whole=False)

    @rule(which=which_node, whole=st.booleans())
    def keep_up(self, which: int, whole: bool) -> None:
        self.node(which)
        self.run(keep_up(self.nodes[which % self.handles], whole=whole))

    @rule(which=which_node)
    def reopen(self, which: int) -> None:
        """The process ends; the next call is another one's."""
        self.run(self.node(which).aclose())

    @rule()
    def back_up(self) -> None:
        self.shut()
        if (self.folder / "cache.db").exists():
            shutil.copy(self.folder / "cache.db", self.folder / "old.db")

    @rule(deleted=st.booleans())
    def come_back_from_the_past(self, deleted: bool) -> None:
        """The file is restored from the backup, or deleted: what it held may be outdated."""
        self.shut()
        path, old = self.folder / "cache.db", self.folder / "old.db"
        path.unlink(missing_ok=True)
        if old.exists() and not deleted:
            shutil.copy(old, path)
        self.truth.forget()
        self.truth.seq.clear()

    def shut(self) -> None:
        for which in range(self.handles):
            self.run(self.node(which).aclose())


class SharedSqliteMachine(SqliteMachine):
    """The same file in two processes."""

    handles = 2


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call that never waits; without an event loop it takes a fifth of the time."""
    try:
        call.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    raise AssertionError("memory waited for something")


def open_sqlite(path: Path, clock: Any, capacity: int, tombstones: int) -> SqliteTier:
    tier = SqliteTier(
        path, namespace="test", clock=clock, capacity_bytes=capacity, max_tombstones=tombstones
    )
    # What runs after writes on the tier's own thread would make each run another one.
    InsideSqlite(tier).without_upkeep()
    return tier


async def keep_up(tier: Any, *, whole: bool) -> None:
    if whole:
        return await tier.upkeep()
    await InsideSqlite(tier).upkeep_step()
