"""A value in some tiers only: whatever an older one has left in the others is never read again.

Two processes share a Redis and a database. (`docs/protocol.md` rules 47 and 48; where values go is
`test_placement_table`.)
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CachePriority, Hit, Limits, Loaded, Policy
from cascada.model.clock import SystemClock
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from cascada.tiers.contract import Found
from cascada.tiers.guarded import GuardedTier
from tests.options import nearest
from tests.servers.redis import RedisServer

LOW, NORMAL, HIGH = CachePriority.LOW, CachePriority.NORMAL, CachePriority.HIGH
POLICIES = {
    "plain": nearest(),
    "normal": Policy(ttl=100, priority=NORMAL, stale_for=1000),
    "high": Policy(ttl=100, priority=HIGH),
    "made": nearest(),
    "kept": Policy(ttl=100, durable=True, stale_for=1000),
}

Make = Callable[..., Cache]


@pytest.fixture
async def make(
    redis_server: RedisServer, tmp_path: Path, nothing_left_behind: None
) -> AsyncIterator[Make]:
    made: list[Cache] = []
    redis_server.flush()

    def cache(**options: Any) -> Cache:
        options = {
            "redis": redis_server.url,
            "database": str(tmp_path / "cache.db"),
            "policies": POLICIES,
            "limits": Limits(op_timeout=10),
            "clock": SystemClock(),
            **options,
        }
        made.append(Cache(**options))
        return made[-1]

    yield cache
    for each in made:
        await each.aclose()


async def in_tiers(cache: Cache, data_type: str, rid: str = "r") -> dict[str, Any]:
    """The values that the shared tiers have, by the tiers' names."""
    while tasks := [task for task in asyncio.all_tasks() if "backfill" in task.get_name()]:
        await asyncio.wait(tasks)
    key, found = cache.tenant("acme").key(data_type, rid), {}
    for tier in inside(cache).lower:
        (answer,) = await tier.tier.read([key])
        if isinstance(answer, Found):
            found[tier.name] = inside(cache).stack.codec.decode(
                answer.entry.data, answer.entry.codec, answer.entry.flags
            )
    return found


async def test_what_one_has_left_below_is_not_read_when_redis_loses_what_came_after(
    make: Make, redis_server: RedisServer
) -> None:
    here, there = make().tenant("acme"), make()
    assert await here.set("plain", "r", "old", priority=LOW)
    assert await there.tenant("acme").set("plain", "r", "new", priority=HIGH)
    assert await in_tiers(there, "plain") == {"l2": "new"}
    redis_server.flush()
    inside(there).memory.flush()
    for cache in (here, there.tenant("acme"), make().tenant("acme")):
        hit = await cache.get("plain", "r")
        assert not hit or hit.value == "new"
    assert await in_tiers(there, "plain") == {}


async def test_what_one_has_left_above_is_not_read_before_what_came_below(make: Make) -> None:
    here, there = make(), make()
    assert await here.tenant("acme").set("plain", "r", "old", priority=HIGH)
    assert await there.tenant("acme").get("plain", "r")
    assert await there.tenant("acme").set("plain", "r", "new", priority=LOW)
    assert await in_tiers(here, "plain") == {"l3": "new"}
    assert inside(there).memory.records.get(there.tenant("acme").key("plain", "r")) is None
    hit = await make().tenant("acme").get("plain", "r")
    assert hit.value == "new"
    assert await in_tiers(here, "plain") == {"l2": "new", "l3": "new"}


async def test_memory_that_is_passed_over_has_dropped_the_old_value_when_a_set_returns(
    make: Make,
) -> None:
    cache = make()
    acme = cache.tenant("acme")
    await acme.set("plain", "r", "old")
    assert await acme.get("plain", "r")
    await acme.set("plain", "r", "new", priority=NORMAL)
    assert acme.peek("plain", "r") is None
    assert (await acme.get("plain", "r")).value == "new"


@pytest.mark.parametrize("seed", range(4))
async def test_of_crossing_sets_of_two_priorities_one_at_most_is_anywhere(
    make: Make, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng, caches = random.Random(seed), (make(), make())
    for cache in caches:
        await cache.tenant("acme").set("plain", "warm", 0)
    for name in ("lease", "fill", "invalidate"):
        step = getattr(GuardedTier, name)

        async def late(self: GuardedTier, *what: Any, step: Any = step, **how: Any) -> Any:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            answer = await step(self, *what, **how)
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            return answer

        monkeypatch.setattr(GuardedTier, name, late)
    for number in range(8):
        rid = f"r{number}"
        priorities = [None, *CachePriority]
        await asyncio.gather(
            *(
                cache.tenant("acme").set(
                    "plain", rid, f"{index} {number}", priority=rng.choice(priorities)
                )
                for index, cache in enumerate(rng.choices(caches, k=3))
            )
        )
        values = set((await in_tiers(caches[0], "plain", rid)).values())
        for cache in caches:
            if record := inside(cache).memory.records.get(cache.tenant("acme").key("plain", rid)):
                values.add(inside(cache).stack.codec.decode(record.data, record.codec, 0))
        assert len(values) <= 1, (rid, values)


async def test_an_invalidation_reaches_what_another_has_placed_below_for_its_slowness(
    make: Make, redis_server: RedisServer
) -> None:
    clock = ManualClock()
    slow, fast = make(clock=clock), make(clock=clock)

    async def row() -> str:
        clock.advance(0.06)
        return "old"

    await slow.tenant("acme").load("normal", "r", row)
    await slow.tenant("acme").get("normal", "r")
    assert await in_tiers(slow, "normal") == {"l2": "old", "l3": "old"}
    await fast.tenant("acme").invalidate("normal", "r")
    redis_server.flush()
    assert await in_tiers(slow, "normal") == {}


async def test_a_stale_value_below_goes_when_a_load_places_its_own_above(make: Make) -> None:
    clock = ManualClock()
    cache = make(clock=clock, policies={"x": POLICIES["kept"]})
    acme = cache.tenant("acme")
    await acme.set("x", "r", "old")
    assert await in_tiers(cache, "x") == {"l2": "old", "l3": "old"}
    clock.advance(200)
    inside(cache).memory.flush()
    cache.set_policy("x", POLICIES["normal"])

    async def row() -> str:
        return "new"

    await acme.load("x", "r", row)
    for _ in range(100):
        if (await in_tiers(cache, "x")).get("l2") == "new":
            break
        await asyncio.sleep(0.01)
    assert await in_tiers(cache, "x") == {"l2": "new"}


async def test_what_is_made_of_a_source_above_is_not_below_and_goes_with_it(make: Make) -> None:
    here, there = make(), make()
    acme = here.tenant("acme")
    await acme.set("normal", "s", "source")
    hit = await acme.get("normal", "s")
    assert isinstance(hit, Hit)
    assert await acme.set("made", "passed", "m", sources=[hit])
    loads = 0

    async def source() -> str:
        nonlocal loads
        loads += 1
        return "loaded"

    async def make_it() -> str:
        return f"of {(await acme.load('normal', 's', source)).value}"

    assert (await acme.load("made", "read", make_it)).value == "of source"
    await acme.get("made", "read")
    assert loads == 0, "it was read where it is"
    assert await in_tiers(here, "made", "passed") == {"l2": "m"}
    assert await in_tiers(here, "made", "read") == {"l2": "of source"}
    miss = await acme.get("made", "filled")
    assert await acme.fill(miss, "f", sources=[hit])  # type: ignore[arg-type]  # it is one
    assert await in_tiers(here, "made", "filled") == {"l2": "f"}
    assert not await acme.add("made", "added", "a", sources=[hit]), "it would have to be below"
    await there.tenant("acme").invalidate("normal", "s")
    for rid in ("passed", "read", "filled"):
        assert await in_tiers(here, "made", rid) == {}


async def test_a_source_below_is_made_into_what_is_below(make: Make) -> None:
    cache = make()
    acme = cache.tenant("acme")
    await acme.set("plain", "s", "source", priority=LOW)
    hit = await acme.get("plain", "s")
    assert await acme.set("made", "r", "m", sources=[hit])
    assert await in_tiers(cache, "made") == {"l2": "m", "l3": "m"}
    await acme.set("plain", "s", "another", priority=LOW)
    assert not await acme.set("made", "r", "m", sources=[hit])
    assert await in_tiers(cache, "made") == {}


async def test_a_tier_that_is_passed_over_remembers_the_version(
    make: Make, redis_server: RedisServer
) -> None:
    cache = make()
    acme = cache.tenant("acme")
    assert await acme.set("plain", "r", "five", version=5, priority=HIGH)
    assert not await acme.set("plain", "r", "four", version=4, priority=LOW)
    assert await in_tiers(cache, "plain") == {"l2": "five"}, "what is newer stays"
    redis_server.flush()
    assert not await acme.set("plain", "r", "four", version=4, priority=HIGH)
    assert await acme.set("plain", "r", "six", version=6, priority=LOW)
    assert await in_tiers(cache, "plain") == {"l3": "six"}


async def test_equal_sets_at_once_leave_the_value(make: Make) -> None:
    caches = [make(), make()]
    for _ in range(5):
        sets = [each.tenant("acme").set("high", "r", "same") for each in caches * 3]
        assert all(await asyncio.gather(*sets))
        assert await in_tiers(caches[0], "high") == {"l2": "same"}


async def test_a_fill_is_refused_by_a_value_where_it_has_no_place(make: Make) -> None:
    cache = make()
    acme = cache.tenant("acme")
    miss = await acme.get("plain", "r")
    other = make().tenant("acme")
    assert await other.add("plain", "r", "there", priority=LOW)
    assert not await acme.fill(miss, "filled", priority=HIGH)  # type: ignore[arg-type]
    assert await in_tiers(cache, "plain") == {"l3": "there"}


async def test_what_is_added_is_where_it_is_decided_and_one_alone_adds_it(make: Make) -> None:
    caches = [make(), make()]
    adding = [
        each.tenant("acme").add("plain", "r", f"{priority!r}", priority=priority)
        for each in caches
        for priority in CachePriority
    ]
    assert sum(await asyncio.gather(*adding)) == 1
    found = await in_tiers(caches[0], "plain")
    assert set(found) in ({"l3"}, {"l2", "l3"})
    assert len(set(found.values())) == 1


async def test_a_touch_reaches_a_value_wherever_it_is(make: Make) -> None:
    cache = make()
    acme = cache.tenant("acme")
    for priority in CachePriority:
        await acme.set("plain", "r", "v", ttl=50, priority=priority)
        assert await acme.touch("plain", "r", 500)
        assert 400 < (await acme.ttl("plain", "r") or 0) <= 500


async def test_a_promotion_that_crosses_an_invalidation_brings_nothing_back(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = make(), make()
    await here.tenant("acme").set("plain", "r", "old", priority=LOW)
    redis = inside(here).lower[0]
    leased, told = asyncio.Event(), asyncio.Event()
    lease = redis.lease

    async def held(*what: Any, **how: Any) -> Any:
        granted = await lease(*what, **how)
        leased.set()
        await told.wait()
        return granted

    monkeypatch.setattr(redis, "lease", held)
    assert (await here.tenant("acme").get("plain", "r")).value == "old"
    await leased.wait()
    await there.tenant("acme").invalidate("plain", "r")
    told.set()
    assert await in_tiers(there, "plain") == {}


async def test_reads_around_fill_nothing_and_loads_are_placed_as_written(make: Make) -> None:
    cache = make(read_strategy="READ_AROUND")
    acme = cache.tenant("acme")
    await make().tenant("acme").set("plain", "r", "v", priority=LOW)
    for _ in range(2):
        assert (await acme.get("plain", "r")).tier == "l3"
    assert (await acme.load("plain", "r", lambda: "other")).tier == "l3"
    assert await in_tiers(cache, "plain") == {"l3": "v"}
    assert (await acme.load("normal", "r", lambda: Loaded("v"))).value == "v"
    for _ in range(2):
        assert (await acme.get("normal", "r")).tier == "l2"
    assert await in_tiers(cache, "normal") == {"l2": "v"}


async def test_writes_around_store_in_the_lowest_place_alone(make: Make) -> None:
    cache = make(write_strategy="WRITE_AROUND")
    acme = cache.tenant("acme")
    await make().tenant("acme").set("plain", "r", "old")
    await make().tenant("acme").set("high", "r", "old")
    assert await acme.set("plain", "r", "v")
    assert await acme.set("high", "r", "v")
    assert await in_tiers(cache, "plain") == {"l3": "v"}
    assert await in_tiers(cache, "high") == {"l2": "v"}
    assert acme.peek("plain", "r") is None
    assert (await acme.get("plain", "r")).tier == "l3"
    assert await in_tiers(cache, "plain") == {"l2": "v", "l3": "v"}
