"""What Redis could not be told is passed on together, and never before the database knows it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from cascada import Cache
from cascada.engine.writing import redelivery
from cascada.model.clock import SystemClock
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.tiers.contract import Invalidation
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite import outbox as sqlite_outbox
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.row import until
from tests.servers.redis import RedisServer


class CountingTier(RedisTier):
    """Remembers what it was told."""

    def __init__(self, url: str) -> None:
        super().__init__(url, namespace="outbox", clock=SystemClock())
        self.told: list[Sequence[str]] = []

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
    tier = CountingTier(redis_server.url)
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


async def test_in_a_long_outage_tenants_go_whole_and_nothing_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_outbox, "MOST", 20)
    monkeypatch.setattr(sqlite_outbox, "LOOK_EVERY", 7)
    database, other = (
        SqliteTier(tmp_path / "cache.db", namespace=name, clock=SystemClock())
        for name in ("outbox", "other")
    )
    await other.post([key_name(key_of("a", 0))])
    shared = [key_name(key_of(tenant, 0)) for tenant in ("a", "c")]
    await database.post(shared)
    await database.post([key_name(key_of("once", 0))])
    being_sent = (await database.posted())[1:]
    for number in range(100):
        for tenant in "a", "b":
            await database.post([key_name(key_of(tenant, number))])
            assert len(await database.posted()) <= 20 + 7
            if number == 3:
                being_sent = (await database.posted())[1:]
    await database.sent(being_sent)
    names = {name for each in await database.posted() for name in each.names}
    assert names >= {*shared}, "of one row for two tenants, neither is forgotten"
    for number in range(4, 100):
        for tenant in "a", "b":
            assert names & {f"t:{tenant}", key_name(key_of(tenant, number))}
    assert [each.names for each in await other.posted()] == [(key_name(key_of("a", 0)),)]
    await database.aclose()
    await other.aclose()


async def test_what_comes_to_be_owed_while_debts_are_paid_is_told_below_first(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Redis would be filled again with the old value, by any process, and never be told again."""
    tier = CountingTier(redis_server.url)
    database = FlakyTier(SqliteTier(tmp_path / "cache.db", namespace="outbox", clock=SystemClock()))
    async with Cache(tiers=[tier, database]) as cache:
        await cache.tenant("acme").get("doc", "0")  # binds the cache to this loop
        stack = inside(cache).stack
        above, base = stack.lower
        earlier, later = (key_name(key_of("acme", number)) for number in (1, 2))
        with database.hang("invalidate", carried_out=True) as held:
            await redelivery.defer(stack, [base], [earlier])
            await held.reached()
            await redelivery.defer(stack, [base], [later])
            database.fail("invalidate")
        await until(lambda: database.made["invalidate"] == 2)
        assert tier.told == [[earlier]]
        assert list(above.deferred) == [later]
        database.heal()
        await until(lambda: not above.deferred)
        assert not base.deferred
        assert tier.told == [[earlier], [later]]


async def test_an_invalidation_is_told_to_the_database_first(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Else Redis would be filled again with the old value that the database still has."""
    tier = CountingTier(redis_server.url)
    database = FlakyTier(SqliteTier(tmp_path / "cache.db", namespace="outbox", clock=SystemClock()))
    async with Cache(tiers=[tier, database]) as cache:
        acme = cache.tenant("acme")
        await acme.set("doc", "1", "old")
        with database.hang("invalidate") as held:
            invalidating = asyncio.create_task(acme.invalidate("doc", "1"))
            await held.reached()
            assert tier.told == []
        await invalidating
        assert len(tier.told) == 1


async def test_a_look_into_the_outbox_that_never_ends_is_given_up(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "PATIENCE", 0.05)
    monkeypatch.setattr(redelivery, "LOOK_EVERY", 0.0)
    tier = CountingTier(redis_server.url)
    database = SqliteTier(tmp_path / "cache.db", namespace="outbox", clock=SystemClock())
    posted, looks = database.posted, 0

    async def hang_once() -> object:
        nonlocal looks
        looks += 1
        if looks == 1:
            await asyncio.get_running_loop().create_future()
        return await posted()

    monkeypatch.setattr(database, "posted", hang_once)
    await database.post([key_name(key_of("a", 1))])
    async with Cache(tiers=[tier, database]):
        await until(lambda: bool(tier.told))
    assert looks > 1
