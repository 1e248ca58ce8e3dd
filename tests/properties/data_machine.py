"""Lists and counters against a Python list and an int, in any order of calls, by two handles.

Calls never overlap, which is no loss: each is one atomic step. Indices are drawn near the ends of
the list as it is, since that is where they go wrong.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cascada.model.clock import SystemClock
from cascada.model.door.arguments import LEAST, MOST
from cascada.model.errors import BadInput
from cascada.testing.data_contract import between
from cascada.tiers.datastore import DataStore
from cascada.tiers.memory.datastore import MemoryData
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.properties.worlds import RAM

NAMES = ("acme:l", "globex:l")

names = st.sampled_from(NAMES)
which_handle = st.integers(0, 1)
indices = st.one_of(st.integers(-9, 9), st.sampled_from((LEAST, MOST)))
item = st.binary(max_size=8)
amounts = st.one_of(st.integers(-9, 9), st.integers(LEAST, MOST))


class DataMachine(RuleBasedStateMachine):
    """`open_handles` makes the handles of one new, empty store."""

    handles: Sequence[DataStore] = ()

    def __init__(self) -> None:
        super().__init__()
        self.lists: defaultdict[str, list[bytes]] = defaultdict(list)
        self.counters: defaultdict[str, int] = defaultdict(int)
        self.runner = asyncio.Runner()
        self.run = self.runner.run

    async def open_handles(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """End what was opened."""

    @initialize()
    def begin(self) -> None:
        self.run(self.open_handles())

    def teardown(self) -> None:
        self.run(self.close())
        self.runner.close()

    @rule(which=which_handle, name=names, pushed=st.lists(item, min_size=1), left=st.booleans())
    def push(self, which: int, name: str, pushed: list[bytes], left: bool) -> None:
        items = self.lists[name]
        for each in pushed:  # several, or the lists would be empty most of the time
            items.insert(0 if left else len(items), each)
            assert self.run(self.handles[which].push(name, each, left=left)) == len(items)

    @rule(which=which_handle, name=names, left=st.booleans())
    def pop(self, which: int, name: str, left: bool) -> None:
        items = self.lists[name]
        expected = items.pop(0 if left else -1) if items else None
        assert self.run(self.handles[which].pop(name, left=left)) == expected

    @rule(which=which_handle, name=names, start=indices, end=indices)
    def range(self, which: int, name: str, start: int, end: int) -> None:
        got = self.run(self.handles[which].range(name, start, end))
        assert got == between(self.lists[name], start, end)

    @rule(which=which_handle, name=names, start=indices, end=indices)
    def trim(self, which: int, name: str, start: int, end: int) -> None:
        self.lists[name] = between(self.lists[name], start, end)
        self.run(self.handles[which].trim(name, start, end))

    @rule(which=which_handle, name=names, amount=amounts)
    def increment(self, which: int, name: str, amount: int) -> None:
        value = self.counters[name] + amount
        if LEAST <= value <= MOST:
            self.counters[name] = value
            assert self.run(self.handles[which].increment(name, amount)) == value
        else:
            with pytest.raises(BadInput):
                self.run(self.handles[which].increment(name, amount))

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        for store in self.handles:
            for name in NAMES:
                assert self.run(store.length(name)) == len(self.lists[name])
                assert self.run(store.range(name, 0, -1)) == self.lists[name]
                assert self.run(store.counter(name)) == self.counters[name]


class MemoryDataMachine(DataMachine):
    async def open_handles(self) -> None:
        self.handles = [MemoryData()] * 2


class SqliteDataMachine(DataMachine):
    """One file, opened twice; the first reads on the loop's own thread."""

    async def open_handles(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=RAM))
        self.tiers = [
            SqliteTier(
                self.folder / "cache.db",
                namespace="test",
                clock=SystemClock(),
                busy_timeout=30.0,
                inline_reads=inline,
            )
            for inline in (True, False)
        ]
        self.handles = [tier.data for tier in self.tiers]

    async def close(self) -> None:
        for tier in self.tiers:
            await tier.aclose()
        shutil.rmtree(self.folder)


class RedisDataMachine(DataMachine):
    """Two connections to one server, each example in a namespace of its own."""

    url: str
    examples = 0

    async def open_handles(self) -> None:
        RedisDataMachine.examples += 1
        namespace = f"example{self.examples}"
        self.tiers = [
            RedisTier(self.url, namespace=namespace, clock=SystemClock()) for _ in range(2)
        ]
        loop = asyncio.get_running_loop()
        self.running = [loop.create_task(tier.run()) for tier in self.tiers]
        for tier in self.tiers:
            await tier.up()
        self.handles = [tier.data for tier in self.tiers]

    async def close(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.wait(self.running)
        for tier in self.tiers:
            await tier.aclose()
