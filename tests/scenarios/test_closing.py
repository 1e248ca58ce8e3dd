"""What closing does with what is under way: it is stored, and nothing stays open behind it."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.testing.inside import InsideSqlite, inside
from tests.scenarios.row import Row, turns, until
from tests.tiers.sqlite_world import open_files

PATIENCE = 20.0


async def test_closing_stores_what_is_under_way(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.db")
    row = Row("value")
    async with Cache(database=path, limits=Limits(op_timeout=PATIENCE)) as cache:
        row.hold()
        acme = cache.tenant("acme")
        waiting = [asyncio.create_task(acme.load("x", name, row.read)) for name in "abc"]
        await row.being_read(3)
        asyncio.get_running_loop().call_later(0.05, row.let_go)
    assert [(await caller).value for caller in waiting] == ["value"] * 3
    async with Cache(database=path, limits=Limits(op_timeout=PATIENCE)) as cache:
        hits = await cache.tenant("acme").get_many("x", [*"abc"])
        assert [(hit.value, hit.tier) for hit in hits] == [("value", "l3")] * 3


async def test_a_tier_that_cannot_be_closed_keeps_no_other_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> None:
        raise RuntimeError("cannot be closed")

    cache = Cache(database=str(tmp_path / "cache.db"))
    await cache.tenant("acme").set("x", "1", "value")
    monkeypatch.setattr(inside(cache).memory, "aclose", fails)
    with pytest.raises(RuntimeError, match="cannot be closed"):
        await cache.aclose()
    database = InsideSqlite(inside(cache).tiers["l3"])
    assert not database.reader.link.is_open
    assert not database.writer.link.is_open


@pytest.mark.parametrize("later", [0, 1, 3, 10])
async def test_what_is_under_way_leaves_no_file_open_behind_the_closing(
    tmp_path: Path, later: int
) -> None:
    """Python warns of a connection that only its garbage collector closes, since 3.13."""
    cache = Cache(database=str(tmp_path / "cache.db"), limits=Limits(op_timeout=PATIENCE))
    acme = cache.tenant("acme")
    await acme.set("x", "0", 0)
    row = Row()
    calls: list[Awaitable[Any]] = [acme.load("x", "1", row.read), acme.get("x", "2")]
    calls += [acme.set("x", str(number), number) for number in range(10)]
    calls += [acme.invalidate("x", "1"), acme.delete("x", "3"), acme.explain("x", "0")]
    callers = [asyncio.ensure_future(call) for call in calls]
    await turns(later)
    await cache.aclose()
    await asyncio.gather(*callers, return_exceptions=True)
    await until(lambda: not open_files(tmp_path))


async def test_a_cache_that_goes_on_after_a_reset_keeps_its_connection(tmp_path: Path) -> None:
    """One that was closed behind each call would be made for each."""
    cache = Cache(database=str(tmp_path / "cache.db"), limits=Limits(op_timeout=PATIENCE))
    await cache.tenant("acme").set("x", "1", 1)
    await cache.reset()
    assert not open_files(tmp_path)
    await cache.tenant("acme").set("x", "1", 2)
    database = InsideSqlite(inside(cache).tiers["l3"])
    with database.writer.link as first:
        pass
    await cache.tenant("acme").set("x", "1", 3)
    with database.writer.link as second:
        assert second is first
    await cache.aclose()
    assert not open_files(tmp_path)
