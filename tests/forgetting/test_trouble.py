"""`Cache.forget` while something goes wrong: it says so, and whoever runs it again goes on."""

from __future__ import annotations

import asyncio
import base64
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CacheService, Context, ForgetProgress, Limits
from cascada.testing.inside import inside
from cascada.tiers.contract import Invalidation
from cascada.tiers.guarded import GuardedTier
from tests.forgetting.conftest import MARKER, World, fill, is_whole, set_in_service

KEYS = "a:" + base64.b64encode(b"\1" * 32).decode()


async def test_a_redis_that_is_away_is_in_the_report_and_forgets_later(both: World) -> None:
    cache = both.cache(limits=Limits(op_timeout=1, invalidate_patience=0.1))
    await fill(cache, "a", MARKER, 5)
    await fill(cache, "b", "kept", 3)
    redis = both.redis
    assert redis is not None
    assert redis.say("SAVE") == b"+OK\r\n"
    redis.kill()
    report = await cache.forget("a")
    assert not report.complete
    wrong = {each.tier: each.incomplete for each in report.removed if each.incomplete}
    assert list(wrong) == ["l2"]
    assert "run it again" in wrong["l2"]
    redis.start()  # with what it has saved: all of it
    assert both.found() != {}
    for _ in range(400):
        if (await cache.forget("a")).complete:
            break
        await asyncio.sleep(0.05)
    assert both.found() == {}
    assert await is_whole(both.cache(), "b", "kept", 3)


KILLED = """
import asyncio, os, sys
from cascada import Cache, Limits
redis, database, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
def tell(progress):
    global steps
    steps -= 1
    if not steps:
        os._exit(9)
async def main():
    async with Cache(namespace="forget*", redis=redis, database=database,
                     limits=Limits(op_timeout=10)) as cache:
        await cache.forget("a", on_progress=tell)
asyncio.run(main())
"""


async def test_killed_in_its_midst_it_is_run_again(both: World) -> None:
    cache = both.cache()
    await fill(cache, "a", MARKER, 300)
    await fill(cache, "b", "kept", 3)
    assert both.redis is not None
    words = [both.redis.url, str(both.folder / "cache.db"), "5"]
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, *words], check=False, timeout=60
    )
    assert killed.returncode == 9
    assert not await cache.tenant("a").get("doc", f"{MARKER}:3"), "void from the first step on"
    assert (await cache.forget("a")).complete
    assert both.found() == {}
    assert await is_whole(both.cache(), "b", "kept", 3)


async def cancelled_at(cache: Cache, step: int) -> object:
    """What came of a `forget` that is cancelled at this step; 0: before the first."""
    left = [step]

    def tell(progress: ForgetProgress) -> None:
        left[0] -= 1
        if left[0] == 0:
            forgetting.cancel()

    forgetting = asyncio.create_task(cache.forget("a", on_progress=tell))
    if not step:
        await asyncio.sleep(0)
        forgetting.cancel()
    (said,) = await asyncio.gather(forgetting, return_exceptions=True)
    return said


@pytest.mark.usefixtures("quick")
async def test_cancelled_at_any_step_it_is_run_again(both: World) -> None:
    cache = both.cache()
    await fill(cache, "b", "kept", 3)
    cancelled = 0
    for step in (0, 1, 2, 5, 9, 14):
        await fill(cache, "a", MARKER, 10)
        said = await cancelled_at(cache, step)
        cancelled += isinstance(said, asyncio.CancelledError)
    assert cancelled >= 5
    assert (await cache.forget("a")).complete
    assert both.found() == {}
    assert await is_whole(both.cache(), "b", "kept", 3)


async def test_two_at_once_and_another_tenant_beside_them(both: World) -> None:
    cache, other = both.cache(), both.cache()
    await fill(cache, "a", MARKER, 50)
    await fill(cache, "c", MARKER, 50)
    await fill(cache, "b", "kept", 3)
    reports = await asyncio.gather(cache.forget("a"), other.forget("a"), other.forget("c"))
    for report in reports:
        assert report.complete or "run it again" in str(report)
    assert (await cache.forget("a")).complete
    assert both.found() == {}
    assert await is_whole(both.cache(), "b", "kept", 3)


async def test_sealed_values_in_a_copy_are_read_by_nobody(both: World, tmp_path: Path) -> None:
    sealed = {"encryption_keys": KEYS, "encrypt": "all", "redis": None}
    here, there = both.cache(**sealed), both.cache(**sealed)
    for tenant in ("a", "b"):
        for n in range(5):
            assert await here.tenant(tenant).set("doc", f"{n}", MARKER, ttl=3600)
            assert await there.tenant(tenant).get("doc", f"{n}")  # it knows the tenants' keys
    copy = tmp_path / "copies" / "copy.db"
    copy.parent.mkdir()
    await here.aclose()
    await there.aclose()
    shutil.copy(both.folder / "cache.db", copy)
    here, there = both.cache(**sealed), both.cache(**sealed)
    assert await there.tenant("a").get("doc", "1")
    report = await here.forget("a")
    assert (report.complete, report.key_dropped) == (True, True)
    assert not await there.tenant("a").get("doc", "1")
    assert await there.tenant("a").set("doc", "1", "anew")
    assert (await here.tenant("a").get("doc", "1")).value == "anew"
    # The old file, brought back without the key, which the new one has no more.
    with sqlite3.connect(copy) as old, sqlite3.connect(both.folder / "cache.db") as new:
        wrapped = new.execute("SELECT tenant, wrapped FROM wrapped_keys").fetchall()
        old.execute("DELETE FROM wrapped_keys")
        old.executemany("INSERT INTO wrapped_keys VALUES ('forget*', ?, ?)", wrapped)
        rows = old.execute("SELECT count(*) FROM entries WHERE key LIKE 'a:%'").fetchall()
        (inode,) = old.execute("SELECT inode FROM meta").fetchall()
        old.execute("UPDATE meta SET inode = ?", (str(copy.stat().st_ino),))
    old.close()
    new.close()
    assert rows == [(5,)], inode
    copied = Cache(namespace="forget*", database=str(copy), encryption_keys=KEYS, encrypt="all")
    both.made.append(copied)
    assert not any([bool(await copied.tenant("a").get("doc", f"{n}")) for n in range(5)])
    assert all([bool(await copied.tenant("b").get("doc", f"{n}")) for n in range(5)])


@pytest.mark.usefixtures("quick")
async def test_what_is_set_while_it_goes_on_harms_nobody(both: World) -> None:
    cache, other = both.cache(), both.cache()
    await fill(cache, "a", MARKER, 40)
    service = both.service(other)
    await set_in_service(service, "a", MARKER, 20)
    journal = inside(other).engine.journal("service.notes")
    assert journal is not None
    accepted, over = [], asyncio.Event()

    async def write(later: CacheService) -> None:
        n = 0
        with Context(tenant_id="a"):
            while not over.is_set():
                n += 1
                if await later.set(f"new:{n}", n, fetched=False):
                    accepted.append(f"new:{n}")
                await other.tenant("a").set("doc", f"new:{n}", n)
                await asyncio.sleep(0)

    def begin(progress: ForgetProgress) -> None:
        if progress.tier == "l1":
            writers.append(asyncio.create_task(write(service)))

    writers: list[asyncio.Task[None]] = []
    report = await cache.forget("a", on_progress=begin)
    over.set()
    await asyncio.gather(*writers)
    assert report.complete
    assert accepted
    waiting = {each.key.resource_id for each in await journal.claim(10_000, 60)}
    assert waiting == set(accepted), "what was acknowledged before goes, what came later stays"
    assert both.found() == {}


@pytest.mark.parametrize("user", [None, "u1"])
async def test_what_is_set_just_after_all_was_void_is_written(
    shared: World, monkeypatch: pytest.MonkeyPatch, user: str | None
) -> None:
    """In the very next moment: what the cache has, its journal has, and the other way round."""
    cache = shared.cache()
    service = shared.service(cache)
    await set_in_service(service, "a", MARKER, 3)
    told = GuardedTier.invalidate
    later = [1]

    async def then_set(self: GuardedTier, names: Sequence[str], **how: Any) -> Invalidation:
        invalidation = await told(self, names, **how)
        lowest = self is inside(cache).stack.lower[-1]
        if lowest and names[-1].startswith("f:") and later:
            later.clear()
            with Context(tenant_id="a"):
                assert await service.set("new", 1, fetched=False)
        return invalidation

    monkeypatch.setattr(GuardedTier, "invalidate", then_set)
    report = await (cache.forget("a") if user is None else cache.forget("a", user=user))
    assert sum(each.changes for each in report.removed) == (0 if user else 3)
    with Context(tenant_id="a"):
        assert await service.get("new") == 1
    assert (await service.sync_now()).written == (4 if user else 1)
