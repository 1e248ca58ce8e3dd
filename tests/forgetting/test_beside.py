"""What is set at the same time as a forget goes everywhere, or stays everywhere."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from cascada import CacheService, Context, ForgetProgress
from cascada.service.sync.target import Target
from cascada.testing.inside import inside
from cascada.tiers.contract import Invalidation
from cascada.tiers.guarded import GuardedTier
from tests.forgetting.conftest import MARKER, World

Step = Callable[[], Coroutine[Any, Any, None]]


def rows_of(folder: Path) -> set[str]:
    with sqlite3.connect(folder / "app.db") as connection:
        found = connection.execute(
            "SELECT key FROM cascada_service_entries WHERE key <> '' AND NOT removed"
        ).fetchall()
    connection.close()
    return {key for (key,) in found}


def around(monkeypatch: pytest.MonkeyPatch, before: Step, after: Step) -> None:
    """Run these directly before and after the lowest tier hears that somebody is forgotten."""
    told, due = GuardedTier.invalidate, [before, after]

    async def invalidate(self: GuardedTier, names: Sequence[str], **how: Any) -> Invalidation:
        if not due or not names[-1].startswith("f:"):
            return await told(self, names, **how)
        first, then = due
        due.clear()
        await first()
        invalidation = await told(self, names, **how)
        await then()
        return invalidation

    monkeypatch.setattr(GuardedTier, "invalidate", invalidate)


@pytest.mark.parametrize("tenant", ["a", "a:b", "a%\0*[é"])
async def test_what_another_process_syncs_around_that_moment_goes_or_stays_as_a_whole(
    shared: World, monkeypatch: pytest.MonkeyPatch, tenant: str
) -> None:
    here, there = [shared.service(shared.cache()) for _ in range(2)]
    with Context(tenant_id=tenant):
        assert await there.set(f"{MARKER}:0", MARKER, fetched=False)
        assert (await there.sync_now()).written == 1

    async def before() -> None:
        with Context(tenant_id=tenant):
            assert await there.set(f"{MARKER}:1", MARKER, fetched=False)
            assert (await there.sync_now()).written == 1
            assert await there.set(f"{MARKER}:2", MARKER, fetched=False)  # it waits

    async def after() -> None:
        with Context(tenant_id=tenant):
            assert await there.set("synced", 3, fetched=False)
            assert (await there.sync_now()).waiting == 0
            assert await there.set("waits", 4, fetched=False)

    around(monkeypatch, before, after)
    report = await here.forget(tenant)
    assert report.complete, report
    assert shared.found() == {}
    with Context(tenant_id=tenant):
        for service in (here, there):
            assert [await service.get(key) for key in ("synced", "waits")] == [3, 4]
            assert [await service.get(f"{MARKER}:{n}") for n in range(3)] == [None] * 3
    assert (await there.sync_now()).written == 1
    assert rows_of(shared.folder) == {"synced", "waits"}


async def test_a_round_is_not_waited_for_and_writes_nothing_of_his_after(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = shared.service(shared.cache())
    with Context(tenant_id="a"):
        assert await service.set(f"{MARKER}:1", MARKER, fetched=False)
    claimed, goes_on, write = asyncio.Event(), asyncio.Event(), Target.write

    async def slow(self: Target, *given: Any) -> Any:
        claimed.set()
        await goes_on.wait()
        return await write(self, *given)

    monkeypatch.setattr(Target, "write", slow)
    syncing = asyncio.create_task(service.sync_now())
    await claimed.wait()
    told: list[ForgetProgress] = []
    forgetting = asyncio.create_task(service.forget("a", on_progress=told.append))
    done, _ = await asyncio.wait([forgetting], timeout=30)
    goes_on.set()
    report = await syncing
    assert done, "it has waited for a round that was not writing"
    assert (await forgetting).complete
    assert "database" in {each.tier for each in told}
    assert (report.written, report.waiting) == (0, 0)
    assert rows_of(shared.folder) == set()
    assert shared.found() == {}


async def test_sets_beside_many_forgets_are_whole(shared: World) -> None:
    """Two processes set and sync while a third forgets, twice at once."""
    forgetter, *others = [shared.service(shared.cache()) for _ in range(3)]
    over, acknowledged = asyncio.Event(), dict[str, int]()

    async def write(service: CacheService, name: str) -> None:
        n = 0
        with Context(tenant_id="a"):
            while not over.is_set():
                n += 1
                if await service.set(f"{name}:{n}", n, fetched=False):
                    acknowledged[f"{name}:{n}"] = n
                if n % 7 == 0:
                    await service.sync_now()

    writers = [asyncio.create_task(write(each, f"w{at}")) for at, each in enumerate(others)]
    for _ in range(4):
        reports = await asyncio.gather(forgetter.forget("a"), forgetter.forget("a", compact=False))
        assert not any(each.incomplete for report in reports for each in report.removed[-1:])
    between = {*acknowledged}
    over.set()
    await asyncio.gather(*writers)
    for service in others:
        await service.sync_now()
    rows = rows_of(shared.folder)
    with Context(tenant_id="a"):
        readable = {key for key in acknowledged if await forgetter.get(key) is not None}
    assert readable == rows, "each set is there in the cache and in the table, or in neither"
    assert {*acknowledged} - between <= rows, "what was acknowledged after the last one stays"
    journal = inside(forgetter.cache).engine.journal("service.notes")
    assert journal is not None
    assert (await journal.backlog()).changes == 0
    assert (await forgetter.forget("a")).complete
    assert rows_of(shared.folder) == set()
