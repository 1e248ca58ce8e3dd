"""Where the journal's disk is full, what a service says is so; and what the target's is, passes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.servers.disk import mount
from tests.sync.conftest import Database, Make


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_on_a_full_disk_a_set_is_false_and_what_is_acknowledged_is_written(
    make: Make, database: Database, small_disk: Path
) -> None:
    make.folder = small_disk
    service = make()
    kept, refused = set[str](), 0
    for number in range(60):
        if await service.set(f"k:{number}", os.urandom(50_000).hex()):
            kept.add(f"k:{number}")
        else:
            refused += 1
            await asyncio.sleep(0.01)
    assert kept
    assert refused
    for cache in make.caches:
        await cache.aclose()
    mount(small_disk, "remount,size=40m")
    report = await make().sync_now()
    assert (report.finished, report.set_aside, report.waiting) == (True, 0, 0)
    # One that was answered False may have been taken when there was no answer any more.
    assert {key for _, key in await database.entries()} >= kept


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_target_whose_disk_is_full_sets_nothing_aside(
    make: Make, database: Database, small_disk: Path
) -> None:
    service = make(database=f"sqlite:///{small_disk / 'app.db'}")
    for number in range(60):
        assert await service.set(f"k:{number}", os.urandom(50_000).hex())
    report = await service.sync_now()
    assert not report.finished
    assert (report.errors.keys(), report.set_aside) == ({"connection"}, 0)
    mount(small_disk, "remount,size=40m")
    report = await service.sync_now()
    assert (report.finished, report.waiting) == (True, 0)
