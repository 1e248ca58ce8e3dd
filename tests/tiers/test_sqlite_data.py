"""Data in the cache database: what happens to the cache, or to the file, leaves them alone."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cascada.model.errors import TierUnavailable
from cascada.model.names import key_name, tenant_name
from cascada.testing.inside import InsideSqlite
from tests.tiers.sqlite_world import World, entry, key, load

TABLES = ("counters", "lists", "items", "ends")


async def is_there(world: World, path: Path | None = None) -> bool:
    data = world.tier(path).data
    return (await data.counter("acme:c"), await data.range("acme:l", 0, -1)) == (7, [b"a", b"b"])


async def fill_data(world: World) -> None:
    data = world.tier().data
    await data.increment("acme:c", 7)
    for item in (b"a", b"b"):
        await data.push("acme:l", item, left=False)


async def test_a_file_from_before_there_were_data_gets_their_tables(world: World) -> None:
    tier = world.tier()
    await load(tier, key("old"))
    await tier.aclose()
    for table in TABLES:
        world.sql(f"DROP TABLE {table}")
    await fill_data(world)
    assert await is_there(world)
    assert world.sql("SELECT key FROM entries") == [(key("old").text,)], "and keeps its entries"
    usage = await world.tier().usage()
    assert usage.entries == 1


async def test_a_file_from_before_counters_could_end_gets_the_table_of_their_ends(
    world: World,
) -> None:
    await fill_data(world)
    await world.tier().aclose()
    world.sql("DROP TABLE ends")
    assert await is_there(world)
    assert await world.tier().data.increment("acme:window", 1, 5.0) == 1
    world.clock.advance(6)
    assert await world.tier().data.counter("acme:window") == 0


async def test_counters_that_have_ended_are_removed(world: World) -> None:
    await fill_data(world)
    tier = world.tier()
    await asyncio.gather(*(tier.data.increment(f"acme:{n}", 1, 5.0) for n in range(300)))
    await tier.data.increment("acme:c", 0, 5.0)
    world.clock.advance(6)
    assert await tier.data.increment("acme:7", 1, 5.0) == 1
    await tier.upkeep()
    assert world.sql("SELECT name, value FROM counters ORDER BY name") == [
        ("acme:7", 1), ("acme:c", 7),
    ]  # fmt: skip
    assert world.sql("SELECT name FROM ends") == [("acme:7",)]


async def test_a_copy_has_void_entries_but_the_data_of_its_moment(
    world: World, tmp_path: Path
) -> None:
    await fill_data(world)
    await load(world.tier(), key("old"))
    for tier in world.tiers:
        await tier.aclose()
    copy = tmp_path / "copy.db"
    shutil.copy(world.path, copy)
    (answer,) = await world.tier(copy).read([key("old")])
    assert not hasattr(answer, "entry"), "nobody knows what was invalidated since"
    assert await is_there(world, copy)


async def test_neither_the_sweep_nor_the_want_of_room_touches_them(world: World) -> None:
    await fill_data(world)
    tier = world.tier(capacity_bytes=2000, max_tombstones=5)
    for number in range(60):
        await load(tier, key(number), entry(bytes(500), expires=world.clock.time() + 5))
        await tier.invalidate([key_name(key(number - 3))])
        world.clock.advance(1)
    await tier.invalidate([tenant_name("acme")])
    await tier.upkeep()
    assert (await tier.usage()).evictions > 10
    assert await is_there(world)
    world.check_sums()


async def test_nothing_is_left_of_a_list_that_has_become_empty(world: World) -> None:
    data = world.tier().data
    for number in range(4):
        await data.push("acme:popped", b"%d" % number, left=bool(number % 2))
        await data.push("acme:trimmed", b"%d" % number, left=bool(number % 2))
    for number in range(4):
        await data.pop("acme:popped", left=number < 2)
    await data.trim("acme:trimmed", 1, 0)
    assert world.sql("SELECT * FROM lists") == world.sql("SELECT * FROM items") == []


async def test_the_ends_of_a_long_list_cost_what_those_of_a_short_one_do(world: World) -> None:
    """No call may look at the items in between."""
    tier, said = world.tier(), list[str]()
    for number in range(5):
        await tier.data.push("acme:l", b"%d" % number, left=False)
    await tier.data.length("acme:l")
    for worker in (InsideSqlite(tier).writer, InsideSqlite(tier).reader):
        with worker.link as connection:
            connection.set_trace_callback(said.append)
    await tier.data.push("acme:l", b"5", left=True)
    await tier.data.pop("acme:l", left=True)
    await tier.data.pop("acme:l", left=False)
    await tier.data.range("acme:l", 1, 2)
    await tier.data.trim("acme:l", 1, 1)
    about_items = [text for text in said if " items " in text and not text.startswith("INSERT")]
    assert len(about_items) == 7
    for text in about_items:
        plan = str(world.sql(f"EXPLAIN QUERY PLAN {text}"))
        assert "(list=? AND position" in plan, (text, plan)
        assert "TEMP B-TREE" not in plan, (text, plan)


async def test_a_range_is_of_one_moment(world: World) -> None:
    """The whole list is replaced between its two looks."""
    tier, other = world.tier(), world.tier()
    for item in (b"a", b"b"):
        await tier.data.push("acme:l", item, left=False)

    async def replace() -> None:
        await other.data.trim("acme:l", 1, 0)
        for item in (b"x", b"y", b"z"):
            await other.data.push("acme:l", item, left=False)

    def interfere(statement: str) -> None:
        if " items " in statement:
            asyncio.run_coroutine_threadsafe(replace(), loop).result(10)

    loop = asyncio.get_running_loop()
    await tier.data.length("acme:l")
    with InsideSqlite(tier).reader.link as connection:
        connection.set_trace_callback(interfere)
    assert await tier.data.range("acme:l", 0, -1) == [b"a", b"b"]
    with InsideSqlite(tier).reader.link as connection:
        connection.set_trace_callback(None)
    assert await tier.data.range("acme:l", 0, -1) == [b"x", b"y", b"z"]


async def test_asking_an_empty_list_for_an_item_takes_no_lock(world: World) -> None:
    data = world.tier(busy_timeout=0.01).data
    await data.push("acme:l", b"a", left=False)
    assert await data.pop("acme:l", left=True) == b"a"
    with closing(sqlite3.connect(world.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await data.pop("acme:l", left=True) is None
        with pytest.raises(TierUnavailable):
            await data.push("acme:l", b"b", left=True)


async def test_a_change_that_has_returned_outlives_a_power_cut(world: World) -> None:
    tier = world.tier()
    full = 2  # PRAGMA synchronous: commits wait until the disk has them
    await load(tier, key())
    with InsideSqlite(tier).writer.link as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() != (full,)
    await tier.data.increment("acme:c", 1)
    with InsideSqlite(tier).writer.link as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (full,)


async def test_namespaces_share_the_file_and_nothing_else(world: World) -> None:
    await fill_data(world)
    other = world.tier(namespace="other").data
    assert await other.counter("acme:c") == 0
    assert await other.push("acme:l", b"mine", left=True) == 1
    await other.trim("acme:l", 1, 0)
    assert await is_there(world)
