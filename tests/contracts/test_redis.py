"""The Redis tier, alone and behind its guard, through the contract suites that users get."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from cascada.testing.clock import ManualClock
from cascada.testing.contract import TierContract
from cascada.tiers.contract import Tier
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.redis.tier import RedisTier
from tests.sealed import sealed_tier
from tests.servers.redis import RedisServer


class Connected(RedisTier):
    """A tier that connects when it is opened, and ends its connection when it is closed."""

    async def connected(self) -> Connected:
        self.running = asyncio.get_running_loop().create_task(self.run())
        await self.up()
        return self

    async def aclose(self) -> None:
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running
        await super().aclose()


@pytest.fixture(autouse=True)
def server(request: pytest.FixtureRequest, redis_server: RedisServer) -> None:
    redis_server.flush()
    request.instance.url = redis_server.url


class TestRedis(TierContract):
    url: str
    leases_continue = False  # granted by the server, after the read and before the load

    async def open_tier(self, clock: ManualClock) -> Tier:
        return await Connected(self.url, namespace="test", clock=clock).connected()


class TestGuardedRedis(TierContract):
    url: str
    leases_continue = False  # granted by the server, after the read and before the load

    async def open_tier(self, clock: ManualClock) -> Tier:
        tier = await Connected(self.url, namespace="test", clock=clock).connected()
        return GuardedTier(tier, clock, timeout=30.0)


class TestSealedRedis(TierContract):
    url: str
    leases_continue = False  # granted by the server, after the read and before the load

    async def open_tier(self, clock: ManualClock) -> Tier:
        tier = await Connected(self.url, namespace="test", clock=clock).connected()
        return sealed_tier(tier, clock)
