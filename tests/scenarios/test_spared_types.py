"""Types with `durable=False` below which a Redis stands: nothing of them reaches the database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Hit, Limits, Policy
from cascada.testing.inside import inside
from cascada.tiers.contract import Found
from cascada.tiers.guarded import GuardedTier
from tests.options import nearest
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

SPARED = {"session": Policy(ttl=100, durable=False), "page": nearest()}
UNAWARE = {"session": nearest(), "page": nearest()}

Make = Callable[[dict[str, Policy]], Cache]


@pytest.fixture
async def make(
    redis_server: RedisServer, tmp_path: Path, nothing_left_behind: None
) -> AsyncIterator[Make]:
    made: list[Cache] = []
    redis_server.flush()

    def cache(policies: dict[str, Policy]) -> Cache:
        made.append(
            Cache(
                redis=redis_server.url,
                database=str(tmp_path / "cache.db"),
                policies=policies,
                limits=Limits(op_timeout=10),
            )
        )
        return made[-1]

    yield cache
    for each in made:
        await each.aclose()


async def agreed(cache: Cache) -> Cache:
    await cache.tenant("acme").get("page", "warm")
    await until(lambda: inside(cache).stack.spared == {"session"})
    return cache


async def in_tiers(cache: Cache, data_type: str, rid: str) -> set[str]:
    key = cache.tenant("acme").key(data_type, rid)
    return {
        tier.name
        for tier in inside(cache).lower
        if isinstance((await tier.tier.read([key]))[0], Found)
    }


async def test_the_database_is_asked_and_told_nothing_of_them(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await agreed(make(SPARED))
    calls: list[str] = []
    for name in ("read", "glance", "lease", "fill", "invalidate", "touch", "read_for_certain"):
        step = getattr(GuardedTier, name)

        def counted(self: GuardedTier, *what: Any, step: Any = step, **how: Any) -> Any:
            if self.name == "l3":
                calls.append(step.__name__)
            return step(self, *what, **how)

        monkeypatch.setattr(GuardedTier, name, counted)
    acme = cache.tenant("acme")
    assert await acme.set("session", "s", "v")
    assert await acme.set_many("session", {"s": "v", "t": "w"}) == [True, True]
    assert (await acme.get("session", "s")).value == "v"
    miss = await acme.get("session", "none")
    assert await acme.fill(miss, "filled")  # type: ignore[arg-type]  # it is one
    assert (await acme.load("session", "loaded", lambda: "v")).value == "v"
    await acme.get("session", "loaded")
    assert await acme.add("session", "added", "v")
    assert not await acme.add("session", "added", "v")
    assert await acme.touch("session", "s", 50)
    assert await acme.set("session", "v", 5, version=5)
    assert not await acme.set("session", "v", 4, version=4)
    assert await acme.delete("session", "s")
    assert (await acme.invalidate("session", "t")).keys == 1
    assert (await acme.invalidate("session", "*")).keys
    assert not calls
    await acme.invalidate(tag="news")
    assert calls == ["invalidate"], "a tag may be on anything"
    assert await acme.set("page", "p", "v")
    assert await in_tiers(cache, "page", "p") == {"l2", "l3"}


async def test_until_all_have_agreed_the_database_is_told(make: Make) -> None:
    unaware = make(UNAWARE).tenant("acme")
    await unaware.set("session", "before", "old")
    await unaware.set("page", "before", "old")
    cache = make(SPARED)
    await agreed(cache)
    assert await in_tiers(cache, "session", "before") == {"l2"}, "what was there is void"
    assert await in_tiers(cache, "page", "before") == {"l2"}


async def test_who_does_not_know_stores_them_in_vain(make: Make, redis_server: RedisServer) -> None:
    other = make(UNAWARE)
    unaware = other.tenant("acme")
    await unaware.get("page", "warm")
    cache = await agreed(make(SPARED))
    assert await unaware.set("session", "s", "old")
    hit = await unaware.get("session", "s")
    assert isinstance(hit, Hit)
    assert await unaware.set("page", "made", "of old", sources=[("session", "s")])
    assert await unaware.set("page", "p", "v")
    assert await in_tiers(cache, "session", "s") == {"l2"}
    assert await in_tiers(cache, "page", "made") == {"l2"}, "nothing would end it there"
    assert await in_tiers(cache, "page", "p") == {"l2", "l3"}
    await cache.tenant("acme").delete("session", "s")
    redis_server.flush()
    inside(other).memory.flush()
    assert not await unaware.get("session", "s")
    assert not await unaware.get("page", "made")


async def test_a_type_that_is_spared_stays_so_and_does_not_begin_to_be_while_it_runs(
    make: Make,
) -> None:
    cache = await agreed(make(SPARED))
    cache.set_policy("session", Policy(ttl=100, durable=True))
    cache.set_policy("page", Policy(ttl=100, durable=False))
    acme = cache.tenant("acme")
    assert await acme.set("session", "s", "v")
    assert await acme.set("page", "p", "v")
    assert await in_tiers(cache, "session", "s") == {"l2"}
    assert await in_tiers(cache, "page", "p") == {"l2"}
    assert inside(cache).stack.spared == {"session"}


async def test_of_many_that_add_one_has(make: Make) -> None:
    caches = [await agreed(make(SPARED)), await agreed(make(SPARED))]
    adding = [
        each.tenant("acme").add("session", "r", number) for number in range(3) for each in caches
    ]
    assert sum(await asyncio.gather(*adding)) == 1


async def test_with_a_database_alone_they_are_numbered_there_and_kept_in_memory(
    tmp_path: Path, nothing_left_behind: None
) -> None:
    where = str(tmp_path / "cache.db")
    async with Cache(database=where, policies=SPARED, limits=Limits(op_timeout=10)) as cache:
        acme = cache.tenant("acme")
        assert await acme.set("session", "s", "v")
        assert (await acme.get("session", "s")).tier == "l1"
        assert await in_tiers(cache, "session", "s") == set()
        assert inside(cache).stack.spared == frozenset()
        await acme.delete("session", "s")
        assert not await acme.get("session", "s")
