"""`Cache.forget`: nothing of a tenant is in any file, and all of the others is there."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from cascada import BadInput, Cache, ForgetProgress, Limits, MissingTenant
from cascada.engine.usage import Usage
from cascada.testing.inside import inside
from tests.forgetting.conftest import (
    MARKER,
    OTHERS,
    World,
    fill,
    is_whole,
    set_in_service,
)


async def records_of(cache: Cache, tenant: str) -> int:
    """How many records of a tenant a process keeps in memory."""
    await asyncio.sleep(0)
    partitions = inside(cache).stack.memory.records.of_tenant(tenant)
    return sum(len(each.records) for each in partitions)


async def test_nothing_of_a_tenant_is_in_any_file_and_all_of_the_others_is_there(
    world: World,
) -> None:
    cache = world.cache()
    await fill(cache, "a", MARKER, 1000 if "behind" in world.kind else 100)
    for other in OTHERS:
        await fill(cache, other, "kept", 3)
    if world.kind != "memory":
        service = world.service(cache)
        await set_in_service(service, "a", MARKER, 20)
        await set_in_service(service, "b", "kept", 3)
        await inside(cache).engine.beside["service.notes"].heard(now=True)
        assert world.found(), "or there is nothing to be looked for"
    seen: list[ForgetProgress] = []
    report = await cache.forget("a", on_progress=seen.append)
    assert report.complete, report
    tiers = {each.tier: each for each in report.removed}
    lowest = report.removed[-1]
    assert lowest.entries >= 100
    assert sum(each.lists for each in report.removed) == 2
    assert sum(each.counters for each in report.removed) == 2
    if world.kind != "memory":
        assert sum(each.changes for each in report.removed) >= 20
    assert {each.tier for each in seen} == set(tiers)
    assert await records_of(cache, "a") == 0
    assert world.found() == {}
    reader = cache if world.kind == "memory" else world.cache()
    for other in OTHERS:
        assert await is_whole(reader, other, "kept", 3), other
    handle = reader.tenant("a")
    assert not await handle.get("doc", f"{MARKER}:3")
    assert await handle.counter("calls", MARKER) == 0
    again = await cache.forget("a")
    assert again.complete
    assert [(each.entries, each.lists, each.changes) for each in again.removed] == [
        (0, 0, 0)
    ] * len(again.removed)
    assert await handle.set("doc", "new", "n")  # he may come back
    assert (await cache.tenant("a").get("doc", "new")).value == "n"


async def test_of_a_user_goes_what_is_his_and_what_was_made_of_it(world: World) -> None:
    cache = world.cache()
    his, other = (cache.tenant("a", collection=f"user:{u}") for u in ("u:1", "u:11"))
    for n in range(30):
        await his.set("doc", f"{MARKER}{n}", MARKER * 3, ttl=3600)
        await other.set("doc", f"kept{n}", "kept", ttl=3600)
    await his.delete("doc", f"{MARKER}5")

    async def made_of_it() -> str:
        return f"{(await his.get('doc', f'{MARKER}1')).value}, and more"

    await cache.tenant("a").load("answer", "q", made_of_it)
    await cache.tenant("b", collection="user:u:1").set("doc", "1", "kept", ttl=3600)
    await cache.tenant("a").list("l").rpush("kept")
    report = await cache.forget("a", user="u:1")
    assert report.complete, report
    assert report.removed[-1].entries >= 29
    assert world.found() == {}
    reader = cache if world.kind == "memory" else world.cache()
    mine = reader.tenant("a", collection="user:u:11")
    assert all([bool(await mine.get("doc", f"kept{n}")) for n in range(30)])
    assert await reader.tenant("b", collection="user:u:1").get("doc", "1")
    assert await reader.tenant("a").list("l").range() == ["kept"]
    assert not await reader.tenant("a", collection="user:u:1").get("doc", f"{MARKER}0")
    assert not await reader.tenant("a").get("answer", "q")


async def test_other_processes_keep_nothing_and_store_nothing_that_was_under_way(
    shared: World,
) -> None:
    here, there = shared.cache(), shared.cache()
    await fill(here, "a", MARKER, 10)
    handle = there.tenant("a")
    for n in range(2, 10):
        assert await handle.get("doc", f"{MARKER}:{n}")
    assert await records_of(there, "a") >= 8
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        began.set()
        await goes_on.wait()
        return MARKER

    loading = asyncio.create_task(handle.load("doc", "slow", slow))
    await began.wait()
    report = await here.forget("a")
    assert report.complete
    goes_on.set()
    assert (await loading).value == MARKER  # who has asked before is told
    for _ in range(200):
        if not await records_of(there, "a"):
            break
        await asyncio.sleep(0.02)
    assert await records_of(there, "a") == 0
    assert shared.found() == {}
    assert not await handle.get("doc", "slow")


async def test_what_is_wrong_is_refused(both: World) -> None:
    cache = both.cache()
    with pytest.raises(MissingTenant):
        await cache.forget(" ")
    for wrong in ({"user": ""}, {"user": True}, {"compact": 1}, {"on_progress": 3}):
        with pytest.raises(BadInput):
            await cache.forget("a", **wrong)  # type: ignore[arg-type]


async def test_an_observer_that_fails_keeps_nothing_from_going(both: World) -> None:
    cache = both.cache()
    await fill(cache, "a", MARKER, 3)

    def fail(progress: ForgetProgress) -> None:
        raise ValueError(progress)

    assert (await cache.forget("a", on_progress=fail)).complete
    assert both.found() == {}


async def test_what_processes_have_noted_of_his_keys_goes_too(shared: World) -> None:
    """Services and warm restarts tell each other which keys are used most."""
    first = shared.cache(limits=Limits(op_timeout=10, warm_restart=100))
    for tenant, marker in (("a", MARKER), ("b", "kept")):
        await set_in_service(shared.service(first), tenant, marker, 5)
        for n in range(5):
            await first.tenant(tenant).set("doc", f"{marker}:{n}", n)
            await first.tenant(tenant).get("doc", f"{marker}:{n}")
        await first.tenant(tenant).invalidate()  # what is noted stays
        await inside(first).engine.beside["service.notes"].heard(now=True)
    await first.aclose()
    assert shared.found()
    here = shared.cache()
    assert (await here.forget("a")).complete
    assert shared.found() == {}
    usage = Usage(":service.notes:used")
    data = await inside(here).engine.data()
    assert sorted(await usage.most(data, "b", 9)) == [f"kept:{n}" for n in range(5)]
    assert await usage.most(data, "a", 9) == []
    assert await data.range(":service.notes:tenants", 0, -1) == [b"b"]


async def test_what_sqlite_has_moved_from_page_to_page_goes_if_it_is_written_anew(
    tmp_path: Path,
) -> None:
    """A page that was split keeps copies of what has gone to another one, in a gap."""
    chance, file = random.Random(1), tmp_path / "cache.db"
    async with Cache(database=str(file), limits=Limits(op_timeout=10)) as cache:
        for turn in range(120):
            tenant, marker = (("a", MARKER), ("b", "other-4711"))[turn % 2]
            values = {
                f"{marker}:{chance.randrange(4000)}": marker * chance.choice([1, 3, 30, 100])
                for _ in range(25)
            }
            await cache.tenant(tenant).set_many("doc", values)
        report = await cache.forget("a", compact=False)
        assert report.complete
        assert [each for each in report.remains if "VACUUM" in each]
        assert file.read_bytes().count(MARKER.encode()) > 0, "or it need not be written anew"
        report = await cache.forget("a")
        assert (report.complete, report.remains) == (True, ())
        assert file.read_bytes().count(MARKER.encode()) == 0
