"""Every store of lists and counters through the contract suite that users get."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cascada.model.clock import SystemClock
from cascada.testing.data_contract import DataContract
from cascada.tiers.datastore import DataStore, KeepsData
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.guarded_datastore import GuardedData
from cascada.tiers.memory.datastore import MemoryData
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.servers.redis import RedisServer


class TestMemory(DataContract):
    @asynccontextmanager
    async def open_data(self) -> AsyncIterator[DataStore]:
        yield MemoryData(self.clock)


class TestSqlite(DataContract):
    path: Path
    inline = False

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "cache.db"

    @asynccontextmanager
    async def open_data(self) -> AsyncIterator[DataStore]:
        tier = SqliteTier(self.path, namespace="test", clock=self.clock, inline_reads=self.inline)
        assert isinstance(tier, KeepsData)
        try:
            yield tier.data
        finally:
            await tier.aclose()


class TestInlineSqlite(TestSqlite):
    inline = True


class TestRedis(DataContract):
    redis: RedisServer
    url: str

    @pytest.fixture(autouse=True)
    def server(self, redis_server: RedisServer) -> None:
        redis_server.flush()
        self.redis = redis_server
        self.url = redis_server.url

    @asynccontextmanager
    async def open_data(self) -> AsyncIterator[DataStore]:
        tier = RedisTier(self.url, namespace="test", clock=SystemClock())
        running = asyncio.get_running_loop().create_task(tier.run())
        await tier.up()
        assert isinstance(tier, KeepsData)
        try:
            yield self.face(tier)
        finally:
            running.cancel()
            await asyncio.wait([running])
            await tier.aclose()

    def face(self, tier: RedisTier) -> DataStore:
        return tier.data

    def passes(self, seconds: float) -> None:
        """The server's own time does not move: what has an end has less left."""
        for key in re.findall(r"\$\d+\r\n(.*?)\r\n", self.redis.say("KEYS", "*").decode()):
            left = int(self.redis.say("PTTL", key)[1:])
            if left >= 0:
                self.redis.say("PEXPIRE", key, f"{left - round(1000 * seconds)}")


class TestGuardedRedis(TestRedis):
    def face(self, tier: RedisTier) -> DataStore:
        return GuardedData(GuardedTier(tier, SystemClock(), timeout=30.0), tier.data)
