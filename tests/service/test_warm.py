"""`CacheService.warm`: what no tier has is loaded, within its bound, and taken up again."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cascada import BadInput, Cache, CacheService, Context, Misuse, WarmProgress
from cascada.engine.usage import Usage
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.service.conftest import MakeService


class Source:
    """What is loaded from; it knows how many loads there were, and how many at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.most = self._now = 0
        self.stop_at = -1
        self.stopped = asyncio.Event()

    async def load(self, key: str) -> Any:
        if len(self.asked) == self.stop_at:
            self.stopped.set()
            await asyncio.Event().wait()
        self.asked.append(key)
        self._now += 1
        self.most = max(self.most, self._now)
        for _ in range(10):
            await asyncio.sleep(0)
        self._now -= 1
        return {"of": key}


@pytest.fixture
def service(clock: ManualClock) -> CacheService:
    return CacheService(cache=Cache(clock=clock), time_zone="UTC")


def keys(most: int) -> list[str]:
    return [f"k:{number}" for number in range(most)]


async def test_all_that_is_missing_is_loaded_within_the_bound(service: CacheService) -> None:
    source, told = Source(), list[WarmProgress]()
    await service.set("k:3", "there")
    report = await service.warm(
        [*keys(100), "k:1"], loader=source.load, at_once=7, on_progress=told.append
    )
    assert (report.wanted, report.present, report.loaded, report.failed) == (100, 1, 99, 0)
    assert sorted(source.asked) == sorted(set(keys(100)) - {"k:3"})
    assert source.most == 7
    assert [each.done for each in told] == list(range(1, 101))
    assert (told[-1].total, told[-1].loaded) == (100, 99)
    assert await service.get("k:99") == {"of": "k:99"}
    assert await service.get("k:3") == "there"


async def test_it_goes_on_after_an_interruption(make_service: MakeService) -> None:
    service, source = make_service(), Source()
    source.stop_at = 60
    task = asyncio.ensure_future(service.warm(keys(100), loader=source.load))
    await source.stopped.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    source.stop_at = -1
    service = make_service()  # after a restart
    stored = [each for each in source.asked if await service.get(each)]
    assert 50 <= len(stored) <= 60
    report = await service.warm(keys(100), loader=source.load)
    assert (report.present, report.loaded) == (len(stored), 100 - len(stored))


async def test_the_most_used_keys_come_back(service: CacheService) -> None:
    for number in range(20):
        await service.set(f"k:{number}", number)
        for _ in range(number):
            await service.get(f"k:{number}")
    with Context(tenant_id="umbrella"):
        for _ in range(99):
            await service.get("k:1")
    await service.clear()
    source = Source()
    report = await service.warm(top=5, loader=source.load)
    assert source.asked == ["k:19", "k:18", "k:17", "k:16", "k:15"]
    assert report.loaded == 5
    await service.clear()
    report = await service.warm(top=4096, loader=source.load)
    assert report.loaded == 18, "what was asked for once, or never, is not used"


async def test_the_most_used_keys_are_known_after_a_restart(make_service: MakeService) -> None:
    one, other = make_service(), make_service()
    for service, most in ((one, "k:1"), (other, "k:2")):
        await service.set("there", 1)
        for key in keys(6):
            for _ in range(4 if key == most else 2):
                await service.get(key)
    for _ in range(3):
        await one.get("k:3")
    with Context(tenant_id="umbrella"):
        for _ in range(99):
            await one.get("k:5")
    await one.cache.aclose()
    await other.cache.aclose()
    source, after = Source(), make_service()
    assert (await after.warm(top=3, loader=source.load)).loaded == 3
    assert source.asked[0] == "k:3"
    assert sorted(source.asked) == ["k:1", "k:2", "k:3"]


async def test_what_is_told_stays_small_and_is_read_whoever_wrote_it(
    make_service: MakeService,
) -> None:
    cache = make_service().cache
    await cache.tenant("acme").get("x", "1")  # it is opened
    store = await inside(cache).engine.data()
    for number in range(40):
        usage = Usage(":test:used")
        for _ in range(2 + number):
            usage.note("acme", f"k:{number}")
            usage.note("acme", "x" * 10_000)
        usage.note("acme", "hot")
        usage.note("acme", "hot")
        await usage.tell(store)
    await store.push(":test:used", b"\xc1 of another hand", left=False)
    items = await store.range(":test:used", 0, -1)
    assert len(items) <= 17
    assert max(map(len, items)) < 1000
    assert (await Usage(":test:used").most(store, "acme", 2))[0] == "k:39"
    assert len(await Usage(":test:used").most(store, "acme", 100)) == 41


async def test_a_failure_is_that_of_its_key(service: CacheService) -> None:
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    gone.cancel()

    async def load(key: str) -> Any:
        match key:
            case "k:1":
                raise ConnectionError("away")
            case "k:2":
                return None
            case "k:3":
                return object()
            case "k:4":
                await gone
        return key

    def stumble(_: WarmProgress) -> None:
        raise RuntimeError("a bar that breaks")

    report = await service.warm(keys(6), loader=load, at_once=1, on_progress=stumble)
    assert (report.loaded, report.absent, report.failed) == (2, 1, 3)
    assert report.errors["k:1"] == "ConnectionError: away"
    assert set(report.errors) == {"k:1", "k:3", "k:4"}


async def test_what_changes_while_it_is_loaded_is_not_replaced(service: CacheService) -> None:
    async def load(key: str) -> str:
        if key == "k:0":
            await asyncio.create_task(service.set(key, "newer"))
        else:
            await asyncio.create_task(service.clear("k:*"))
        return "older"

    report = await service.warm(keys(2), loader=load, at_once=1)
    assert (report.loaded, report.refused) == (0, 2)
    assert await service.get("k:0") in ("newer", None)
    assert await service.get("k:1") is None


async def test_it_counts_as_no_access(service: CacheService) -> None:
    """Or the hour of a start were always one of peak."""
    await service.warm(keys(60), loader=Source().load)
    assert service.hourly_access_stats == []


async def test_a_plain_loader_runs_in_a_thread_as_its_tenant(service: CacheService) -> None:
    from cascada.api.context import current_tenant

    await service.warm(["k"], loader=lambda _: current_tenant())
    assert await service.get("k") == "acme"


async def test_no_row_is_written_back(
    make_service: MakeService, clock: ManualClock, tmp_path: Path
) -> None:
    """And what waits to be written is not loaded over, though its entry has gone."""
    path = tmp_path / "application.db"
    service = make_service(database=f"sqlite:///{path}")
    await service.set("k:0", "changed")
    await service.clear()
    await service.set("k:1", "changed", ttl=1)
    clock.advance(2)
    source = Source()
    report = await service.warm(keys(3), loader=source.load)
    assert (report.refused, report.loaded) == (2, 1)
    assert source.asked == ["k:2"]
    assert await service.get("k:0") is None
    assert (await service.sync_now()).written == 2
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT key FROM cascada_service_entries ORDER BY key")
        assert rows.fetchall() == [("k:0",), ("k:1",)]
    assert await service.get("k:2") == {"of": "k:2"}


async def test_a_cache_that_is_off_voids_nothing(clock: ManualClock, tmp_path: Path) -> None:
    path = str(tmp_path / "c.db")
    there, off = Cache(database=path, clock=clock), Cache(database=path, clock=clock, mode="off")
    one = CacheService(cache=there, time_zone="UTC")
    await one.set("k:1", 1)
    report = await CacheService(cache=off, time_zone="UTC").warm(["k:1"], loader=Source().load)
    assert report.refused == 1
    assert await one.get("k:1") == 1
    await there.aclose()
    await off.aclose()


@pytest.mark.parametrize("how", [{}, {"keys": ["a"], "top": 1}, {"top": 0}, {"top": True},
                                 {"keys": "abc"}, {"keys": ["a"], "at_once": 0}])  # fmt: skip
async def test_what_it_does_not_take(service: CacheService, how: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        await service.warm(**how, loader=Source().load)


async def test_nor_what_is_no_loader(service: CacheService) -> None:
    with pytest.raises((BadInput, Misuse), match="loader"):
        await service.warm(["a"], loader=Source().load("a"))  # type: ignore[arg-type]  # a slip
