"""What other processes could not tell Redis is passed on together."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cascada import Cache
from cascada.model.clock import SystemClock
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.tiers.base import Invalidation
from cascada.tiers.redis import RedisTier
from cascada.tiers.sqlite import SqliteTier
from tests.servers.redis import RedisServer


class CountingTier(RedisTier):
    """Remembers what it was told."""

    told: list[Sequence[str]]

    async def invalidate(self, names: Sequence[str], *, strict: bool = False) -> Invalidation:
        self.told.append(names)
        return await super().invalidate(names, strict=strict)


def key_of(tenant: str, number: int) -> Key:
    return Key(
        tenant=tenant, data_type="doc", agent=None, conversation=None, collection=None,
        resource_id=f"{number}",
    )  # fmt: skip


async def test_many_posted_invalidations_go_to_redis_in_one_command_for_each_tenant(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    tier = CountingTier(redis_server.url, namespace="outbox", clock=SystemClock())
    tier.told = []
    database = SqliteTier(tmp_path / "cache.db", namespace="outbox", clock=SystemClock())
    names = [key_name(key_of(tenant, n)) for tenant in ("a", "b") for n in range(100)]
    for name in names:
        await database.post([name])
    async with Cache(tiers=[tier, database]):
        for _ in range(500):
            if not await database.posted():
                break
            await asyncio.sleep(0.02)
        assert not await database.posted()
    assert {name for told in tier.told for name in told} == set(names)
    assert len(tier.told) == 2
