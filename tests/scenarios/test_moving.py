"""`optimize_cache_distribution`: what is read below comes up, and nothing that was invalidated."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cascada import (
    BadInput,
    Cache,
    CachePriority,
    Policy,
    advanced_cache_manager,
    configure,
)
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from cascada.tiers.contract import Found
from tests.scenarios.conftest import MakeCache
from tests.servers.redis import RedisServer

VALUE = "v" * 1000
optimize = advanced_cache_manager.optimize_cache_distribution


@pytest.fixture
async def default(make_cache: MakeCache) -> AsyncIterator[Cache]:
    """The cache that `advanced_cache_manager` acts on."""
    made = make_cache()
    before = configure(made)
    yield made
    configure(before)


async def heat_up(cache: Cache, *names: str, times: int = 5) -> None:
    """Read these, as processes would that have just begun."""
    acme = cache.tenant("acme")
    for _ in range(times):
        for name in names:
            inside(cache).memory.flush()
            assert await acme.get("x", name)
    inside(cache).memory.flush()


async def test_what_is_read_below_comes_into_memory(default: Cache, tiers: str) -> None:
    acme = default.tenant("acme")
    for name in ("hot", "warm", "cold"):
        await acme.set("x", name, VALUE)
    if tiers == "memory":
        told = await optimize()
        assert (told["moves"], told["moved"]["entries"], told["measured"]) == ([], 0, None)
        return
    await heat_up(default, "hot", "warm")
    planned = await optimize(dry_run=True)
    assert planned["dry_run"]
    assert {(each["key"], each["to"]) for each in planned["moves"]} == {
        ("acme:x:hot", "l1"), ("acme:x:warm", "l1")
    }  # fmt: skip
    assert planned["expected"]["hits"] == pytest.approx(10_000)
    assert planned["expected"]["bytes"] >= 2 * len(VALUE)
    assert planned["moved"] == {"entries": 0, "bytes": 0, "left_memory": 0}
    assert inside(default).counted.total.by_tier["l1"] == 0
    assert acme.peek("x", "hot") is None, "a dry run has moved it"
    told = await optimize()
    assert told["moves"] == planned["moves"]
    assert told["moved"] == {
        "entries": 2, "bytes": planned["expected"]["bytes"], "left_memory": 0
    }  # fmt: skip
    for name in ("hot", "warm"):
        assert (await acme.get("x", name)).tier == "l1"
    again = await optimize()
    assert again["moves"] == []
    measured = again["measured"]
    assert measured is not None
    assert measured["expected_hits"] == measured["hits"] == pytest.approx(10_000)
    assert measured["reads"] == 2


@pytest.mark.parametrize("tiers", ["sqlite", "redis and sqlite"])
async def test_what_is_cold_and_bulky_makes_room(make_cache: MakeCache, clock: ManualClock) -> None:
    cache = make_cache(l1_bytes=20_000)
    before = configure(cache)
    acme = cache.tenant("acme")
    await acme.set("x", "important", "i" * 6000, priority=CachePriority.HIGH)
    await acme.set("x", "bulky", "b" * 9000)
    for name in ("a", "b"):
        await acme.set("x", name, VALUE)
    await heat_up(cache, "a", "b")
    await optimize()  # from here on it is known what is used
    clock.advance(1)
    for name in ("important", "bulky"):
        await acme.get("x", name)
    records = inside(cache).memory.records
    await heat_up_beside(cache, "c", "d", "e", "f")
    clock.advance(1)
    told = await optimize()
    left = [each["key"] for each in told["moves"] if each["to"] is None]
    assert "acme:x:important" not in left
    assert told["moved"]["left_memory"] == len(left)
    assert records.size <= 20_000
    assert await acme.get("x", "bulky"), "a tier below has it"
    configure(before)


async def heat_up_beside(cache: Cache, *names: str) -> None:
    """Read these below without what memory has being touched: each is dropped behind its read."""
    acme, records = cache.tenant("acme"), inside(cache).memory.records
    for name in names:
        await acme.set("x", name, VALUE)
        for _ in range(5):
            if (record := records.get(acme.key("x", name))) is not None:
                records.drop(record)
            assert (await acme.get("x", name)).tier != "l1"
        if (record := records.get(acme.key("x", name))) is not None:
            records.drop(record)


@pytest.mark.parametrize("tiers", ["redis and sqlite"])
async def test_what_redis_has_lost_comes_back_to_it(
    default: Cache, redis_server: RedisServer
) -> None:
    acme = default.tenant("acme")
    for name in ("hot", "cold"):
        await acme.set("x", name, VALUE, ttl=None)
    await heat_up(default, "hot")
    redis_server.say("DEL", *names_of_entries(redis_server))
    planned = await optimize(dry_run=True)
    assert [(each["from"], each["to"]) for each in planned["moves"]] == [("l3", "l2"), ("l3", "l1")]
    assert names_of_entries(redis_server) == []
    told = await optimize()
    assert told["moved"]["entries"] == 2
    (there,) = names_of_entries(redis_server)
    assert there.endswith("acme:x:hot")
    size = redis_server.say("STRLEN", there)
    assert int(size[1:-2]) == pytest.approx(told["moves"][0]["bytes"], abs=200)
    inside(default).memory.flush()
    assert (await acme.get("x", "hot")).tier == "l2"


def names_of_entries(server: RedisServer) -> list[str]:
    said = server.say("KEYS", "*:v:*").decode().split("\r\n")
    return [each for each in said if ":v:" in each]


@pytest.mark.parametrize("tiers", ["redis", "redis and sqlite"])
async def test_what_is_invalidated_on_its_way_does_not_come(
    default: Cache, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = default.tenant("acme")
    names = [f"k{number}" for number in range(20)]
    for name in names:
        await acme.set("x", name, "old")
    await heat_up(default, *names, times=2)
    if len(inside(default).lower) > 1:
        redis_server.say("DEL", *names_of_entries(redis_server))
    between = Between(default)
    between.monkey(monkeypatch, lambda number: acme.invalidate("x", f"k{number}"))
    await optimize()
    assert between.happened > 0
    for memory_is_empty in (False, True):
        if memory_is_empty:
            inside(default).memory.flush()
        for number in range(between.happened):
            assert not await acme.get("x", f"k{number}")
        assert await acme.get("x", "k19")


class Between:
    """Something that happens behind each read that finds something below, before that is stored."""

    def __init__(self, cache: Cache) -> None:
        self.happened = 0
        self._tiers = inside(cache).lower
        self._within = False

    def monkey(self, patch: pytest.MonkeyPatch, act: Callable[[int], Any]) -> None:
        for tier in self._tiers:
            real = tier.read

            async def read(keys: Any, real: Any = real) -> Any:
                found = await real(keys)
                if not self._within and any(isinstance(each, Found) for each in found):
                    self._within = True
                    await act(self.happened)
                    self.happened += 1
                    self._within = False
                return found

            patch.setattr(tier, "read", read)


@pytest.mark.parametrize("tiers", ["sqlite"])
async def test_what_no_read_would_be_given_does_not_come(
    default: Cache, clock: ManualClock
) -> None:
    acme = default.tenant("acme")
    default.set_policy("x", Policy(ttl=60, stale_for=60, version=0))
    await acme.set("x", "due", VALUE, ttl=10)
    await acme.set("x", "old", VALUE)
    await heat_up(default, "due", "old")
    clock.advance(11)
    default.set_policy("x", Policy(ttl=60, stale_for=60, version=1))
    assert [each["key"] for each in (await optimize(dry_run=True))["moves"]] == ["acme:x:old"]
    assert (await optimize())["moved"]["entries"] == 0
    assert len(inside(default).memory.records) == 0


@pytest.mark.parametrize("tiers", ["redis and sqlite"])
async def test_two_at_once_move_once(default: Cache) -> None:
    acme = default.tenant("acme")
    await acme.set("x", "hot", VALUE)
    await heat_up(default, "hot")
    told = await asyncio.gather(optimize(), optimize(), optimize())
    assert [each["moved"]["entries"] for each in told] == [1, 0, 0]


@pytest.mark.parametrize("tiers", ["redis and sqlite"])
async def test_a_caller_who_leaves_leaves_nothing_half_done(default: Cache) -> None:
    acme = default.tenant("acme")
    await acme.set("x", "hot", VALUE)
    await heat_up(default, "hot")
    leaving = asyncio.create_task(optimize())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (await optimize())["measured"] is not None
    assert (await acme.get("x", "hot")).tier == "l1"


@pytest.mark.parametrize("tiers", ["redis and sqlite"])
async def test_with_redis_away_it_says_what_there_is(
    default: Cache, redis_server: RedisServer
) -> None:
    acme = default.tenant("acme")
    await acme.set("x", "hot", VALUE)
    await heat_up(default, "hot")
    with redis_server.down():
        told = await optimize()
    assert told["moved"]["entries"] == 0, "memory would never hear of an invalidation"


@pytest.mark.parametrize("tiers", ["sqlite"])
async def test_a_budget_is_kept(default: Cache) -> None:
    acme = default.tenant("acme")
    names = [f"k{number}" for number in range(9)]
    for name in names:
        await acme.set("x", name, VALUE)
    await heat_up(default, *names, times=2)
    assert len((await optimize(dry_run=True, max_moves=4))["moves"]) == 4
    told = await optimize(max_bytes=3 * len(VALUE) + 100)
    assert told["moved"]["entries"] == len(told["moves"]) == 3
    with pytest.raises(BadInput, match=r"^max_moves is 0"):
        await optimize(max_moves=0)


@pytest.mark.parametrize("tiers", ["redis", "sqlite"])
async def test_by_itself(make_cache: MakeCache) -> None:
    cache = make_cache(optimize_every=0.02)
    acme = cache.tenant("acme")
    await acme.set("x", "hot", VALUE)
    for _ in range(100):  # what it has moved before, the heating has dropped
        await heat_up(cache, "hot", times=2)
        await asyncio.sleep(0.05)
        if acme.peek("x", "hot") is not None:
            return
    pytest.fail("it did not come")
