"""Each tenant's share of a full database, and how files that know none of it get one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cascada.model.entry import Entry, priority_bits
from cascada.model.names import type_name
from cascada.model.policy import CachePriority
from cascada.testing.inside import InsideSqlite
from cascada.tiers.contract import Lease
from cascada.tiers.sqlite.pruning import shares_of
from tests.tiers.l3_shares import compare
from tests.tiers.sqlite_world import World, entry, key, load, look

ROW = 1400  # a little more than a row with a value of 1000 bytes weighs


def held(world: World) -> dict[str, int]:
    """How many rows each tenant has."""
    return dict(
        world.sql("SELECT t.tenant, count(*) FROM entries e JOIN tenants t ON t.id = e.tenant"
                  " GROUP BY t.tenant")
    )  # fmt: skip


async def many(world: World, tier: object, tenant: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        await load(tier, key(number, tenant=tenant), entry(b"x" * 1000))  # type: ignore[arg-type]


# --- who gives ------------------------------------------------------------------------------------


@given(
    some.lists(some.integers(1, 10**6), min_size=1, max_size=70),
    some.integers(1, 2 * 10**6),
)
def test_the_largest_give_down_to_one_level(sizes: list[int], over: int) -> None:
    largest = [*enumerate(sorted(sizes, reverse=True))]
    gives = dict(shares_of(largest, over))
    assert all(0 < gives[tenant] <= size for tenant, size in largest if tenant in gives)
    assert sum(gives.values()) == pytest.approx(min(over, sum(sizes)))
    left = [size - gives.get(tenant, 0) for tenant, size in largest]
    level = max(left)
    assert all(left[tenant] == pytest.approx(level) for tenant in gives), "they end level"
    assert all(size <= level + 1e-6 for tenant, size in largest if tenant not in gives)


async def test_who_writes_too_much_empties_nobody_else(world: World) -> None:
    tier = world.tier(capacity_bytes=40 * ROW)
    await many(world, tier, "quiet", 10)
    await many(world, tier, "small", 3)
    world.clock.advance(3600)
    await many(world, tier, "noisy", 100)
    await tier.upkeep()
    rows = held(world)
    assert (rows["quiet"], rows["small"]) == (10, 3)
    assert 24 <= rows["noisy"] <= 31, "what the others leave over is lent"
    world.check_sums()
    await many(world, tier, "quiet", 30)
    await tier.upkeep()
    rows = held(world)
    assert abs(rows["quiet"] - rows["noisy"]) <= 1, "and asked back"
    assert rows["small"] == 3
    world.check_sums()


async def test_a_share_comes_before_priority(world: World) -> None:
    tier = world.tier(capacity_bytes=20 * ROW)
    await many(world, tier, "quiet", 5)
    world.sql(f"UPDATE entries SET priority = {CachePriority.LOW.value}")
    await many(world, tier, "noisy", 50)
    high = CachePriority.CRITICAL.value
    world.sql(f"UPDATE entries SET priority = {high} WHERE key LIKE 'noisy%'")
    await many(world, tier, "noisy", 20, first=50)
    await tier.upkeep()
    assert held(world)["quiet"] == 5


async def test_a_low_row_goes_before_what_was_not_used_for_longer(world: World) -> None:
    tier = world.tier(capacity_bytes=10 * ROW)
    await many(world, tier, "acme", 5)
    world.clock.advance(100)
    low = Entry(b"x" * 1000, flags=priority_bits(CachePriority.LOW), created=1.0)
    for number in range(5, 8):
        await load(tier, key(number), low)
    world.clock.advance(100)
    await many(world, tier, "acme", 4, first=8)
    await tier.upkeep()
    rows = {name.rpartition(":")[2] for (name,) in world.sql("SELECT key FROM entries")}
    assert {f"{number}" for number in range(5)} <= rows, "they are older, and not LOW"
    assert len(rows & {"5", "6", "7"}) < 3


async def test_other_namespaces_have_shares_as_well(world: World) -> None:
    here, there = (world.tier(namespace=name, capacity_bytes=20 * ROW) for name in ("a", "b"))
    await many(world, here, "acme", 5)
    await many(world, there, "acme", 60)
    await there.upkeep()
    assert sorted(count for (count,) in world.sql(
        "SELECT count(*) FROM entries GROUP BY tenant")) [0] == 5  # fmt: skip


async def test_one_row_larger_than_all_goes_and_nothing_else_does(world: World) -> None:
    tier = world.tier(capacity_bytes=10 * ROW)
    await many(world, tier, "quiet", 4)
    await load(tier, key("huge", tenant="noisy"), entry(b"x" * 50 * ROW))
    await tier.upkeep()
    assert held(world) == {"quiet": 4}
    world.check_sums()


async def test_of_one_byte_nothing_stays_and_all_is_well(world: World) -> None:
    tier = world.tier(capacity_bytes=1)
    assert (await load(tier, key())).accepted
    await tier.upkeep()
    assert (await tier.usage()).entries == 0
    assert (await tier.invalidate([type_name("acme", "document")])).seq > 0
    world.check_sums()


# --- in the background ----------------------------------------------------------------------------


async def test_a_smaller_size_than_before_is_reached_by_itself(world: World) -> None:
    before = world.tier()
    keys = [key(number) for number in range(3000)]
    leases = [each for each in await before.lease(keys, [None] * 3000) if isinstance(each, Lease)]
    await before.fill(leases, [entry(b"x" * 1000)] * 3000)
    after = world.tier(capacity_bytes=100 * ROW)
    assert await look(after, key("not there")) == "absent"
    await _until_small(after, 100 * ROW)
    world.check_sums()


async def _until_small(tier: object, size: int) -> None:
    deadline = asyncio.get_running_loop().time() + 20
    while (await tier.usage()).size_bytes > size:  # type: ignore[attr-defined]
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_two_that_prune_at_once_remove_no_more_than_one(world: World) -> None:
    before = world.tier()
    await many(world, before, "acme", 300)
    pair = [world.tier(capacity_bytes=100 * ROW) for _ in range(2)]
    await asyncio.gather(*[each.upkeep() for each in pair])
    usage = await before.usage()
    assert 97 * ROW - 30_000 < usage.size_bytes <= 100 * ROW
    assert usage.evictions == 300 - usage.entries
    world.check_sums()


async def test_a_clock_that_is_set_back_prunes_none_the_less(world: World) -> None:
    tier = world.tier(capacity_bytes=20 * ROW)
    world.clock.advance(10_000)
    await many(world, tier, "acme", 15)
    world.clock.advance(-9_000)
    await many(world, tier, "acme", 30, first=100)
    await tier.upkeep()
    assert (await tier.usage()).size_bytes <= 20 * ROW
    world.check_sums()


# --- files of before ------------------------------------------------------------------------------


def made_before(world: World) -> None:
    """Take from the file what it had not when tenants had no shares."""
    for statement in (
        "DROP INDEX entries_by_share",
        "DROP INDEX tenants_by_bytes",
        "ALTER TABLE tenants DROP COLUMN bytes",
        "CREATE INDEX entries_by_use ON entries (priority > 0, used)",
    ):
        world.sql(statement)


async def test_a_file_of_before_opens_and_gets_its_sums(world: World) -> None:
    before = world.tier()
    await many(world, before, "acme", 7)
    await many(world, before, "other", 2)
    await before.aclose()
    made_before(world)
    for each in (world.tier(), world.tier()):
        assert await look(each, key(0)) == b"x" * 1000
    world.check_sums()
    await world.tier(capacity_bytes=5 * ROW).upkeep()
    assert held(world)["other"] == 2
    world.check_sums()


async def test_what_an_older_version_has_stored_is_counted_when_it_matters(world: World) -> None:
    tier = world.tier(capacity_bytes=5 * ROW)
    InsideSqlite(tier).without_upkeep()
    await many(world, tier, "acme", 10)
    world.sql("UPDATE tenants SET bytes = 0")
    await tier.upkeep()
    await tier.upkeep()
    assert (await tier.usage()).size_bytes <= 5 * ROW
    world.check_sums()


async def test_a_noisy_tenant_costs_the_others_less_than_a_point(tmp_path: Path) -> None:
    """The short form of `python -m tests.tiers.l3_shares`."""
    falls, total = await compare(tmp_path, 2**21, 40, ("a",))
    assert max(falls.values()) < 1, falls
    assert total < 1
