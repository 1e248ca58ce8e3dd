"""Alerts on real traffic: told once when they have lasted, once when they are over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cascada import Alert, AlertRule, BadInput, Cache, CacheService, Limits, Policy
from cascada.model.errors import CacheClosed
from cascada.service.alerting import Watch
from cascada.testing.clock import ManualClock
from tests.servers.redis import free_port


@pytest.fixture
def cache(clock: ManualClock) -> Cache:
    policies = {"service.default": Policy(bulky_bytes=1000)}
    return Cache(clock=clock, policies=policies, limits=Limits(l1_bytes=100_000))


@pytest.fixture
async def service(cache: Cache) -> CacheService:
    service = CacheService(cache=cache, time_zone="UTC")
    await service.set("there", 1, ttl=0)
    return service


async def minute(service: CacheService, clock: ManualClock, hits: int, misses: int) -> None:
    """Reads in so many sixths of a minute, with a look after each of them."""
    for _ in range(6):
        for _ in range(hits):
            await service.get("there")
        for _ in range(misses):
            await service.get("not there")
        clock.advance(10)
        await service.check_alerts()


async def watched(service: CacheService, *rules: AlertRule) -> list[Alert]:
    told: list[Alert] = []
    await service.start_alerts(rules, told.append, every=3600)
    await service.check_alerts()
    return told


async def test_a_low_hit_ratio_is_told_once_it_has_lasted(
    service: CacheService, clock: ManualClock
) -> None:
    told = await watched(service, AlertRule("hit_ratio", 0.8, lasts=120))
    await minute(service, clock, 9, 1)
    await minute(service, clock, 1, 9)
    await minute(service, clock, 1, 9)
    assert told == [], "it is under for less than two minutes"
    await minute(service, clock, 1, 9)
    (alert,) = told
    assert alert.firing
    assert alert.value < 0.8
    assert 120 <= alert.for_seconds < 130
    assert await service.check_alerts() != []
    for _ in range(3):  # at the edge, and back
        await minute(service, clock, 82, 18)
        await minute(service, clock, 78, 22)
    assert len(told) == 1
    await minute(service, clock, 9, 1)
    await minute(service, clock, 9, 1)
    assert [each.firing for each in told] == [True, False]
    assert await service.check_alerts() == []


async def test_a_dip_tells_nobody(service: CacheService, clock: ManualClock) -> None:
    told = await watched(service, AlertRule("hit_ratio", 0.8, lasts=120))
    for _ in range(3):
        await minute(service, clock, 1, 9)
        await minute(service, clock, 9, 1)
        await minute(service, clock, 9, 1)
    assert told == []


async def test_no_reads_begin_no_alert_and_end_none(
    service: CacheService, clock: ManualClock
) -> None:
    told = await watched(service, AlertRule("hit_ratio", 0.8, lasts=150))
    await minute(service, clock, 1, 9)
    for _ in range(5):
        await minute(service, clock, 0, 0)
    assert told == []
    for _ in range(4):
        await minute(service, clock, 1, 9)
    for _ in range(5):
        await minute(service, clock, 0, 0)
    assert [each.firing for each in told] == [True]
    assert len(await service.check_alerts()) == 1


async def test_large_values_evictions_and_a_full_memory(
    service: CacheService, clock: ManualClock
) -> None:
    told = await watched(
        service,
        AlertRule("bulky", 5, lasts=0),
        AlertRule("evictions", 5, lasts=0),
        AlertRule("memory", 0.8, lasts=0),
        AlertRule("errors", 0, lasts=0),
        AlertRule("sync_lag", 0, lasts=0),
    )
    for number in range(200):
        await service.set(f"k:{number}", "x" * 2000)
    clock.advance(10)
    await service.check_alerts()
    assert {each.rule.figure for each in told} == {"bulky", "evictions", "memory"}
    for _ in range(7):
        clock.advance(10)
        await service.check_alerts()
    over = {each.rule.figure for each in told if not each.firing}
    assert over == {"bulky", "evictions"}, "a minute later they are over, and memory is full"


async def test_errors_of_a_tier_that_is_away(clock: ManualClock) -> None:
    limits = Limits(op_timeout=0.2, invalidate_patience=0.0)
    cache = Cache(redis=f"redis://127.0.0.1:{free_port()}/0", clock=clock, limits=limits)
    service = CacheService(cache=cache, time_zone="UTC")
    told = await watched(service, AlertRule("errors", 0, lasts=0))
    assert await service.set("k", 1) is False
    await service.check_alerts()
    assert [(each.rule.figure, each.firing) for each in told] == [("errors", True)]
    await cache.aclose()


async def test_a_sync_that_does_not_get_on(clock: ManualClock, tmp_path: Path) -> None:
    cache = Cache(database=str(tmp_path / "c.db"), clock=clock, limits=Limits(op_timeout=10))
    url = f"sqlite:///{tmp_path / 'nowhere' / 'application.db'}"
    service = CacheService(cache=cache, time_zone="UTC", database=url)
    told = await watched(service, AlertRule("sync_lag", 30, lasts=0))
    await service.set("k", 1)
    clock.advance(31)
    assert not (await service.sync_now()).finished
    await service.check_alerts()
    assert [each.rule.figure for each in told] == ["sync_lag"]
    await cache.aclose()


async def test_the_watch_looks_by_itself_and_ends(
    service: CacheService, caplog: pytest.LogCaptureFixture
) -> None:
    heard = asyncio.Event()

    def stumble(_: Alert) -> None:
        heard.set()
        raise RuntimeError("the pager is broken")

    rule = AlertRule("memory", 0, lasts=0)
    await service.start_alerts([rule], stumble, every=0.01)
    await asyncio.wait_for(heard.wait(), 10)
    await service.start_alerts([rule], every=0.01)  # in the place of it, to the log
    await service.check_alerts()
    assert "memory is" in caplog.text
    await asyncio.gather(*(service.start_alerts([rule], every=0.01) for _ in range(3)))
    await service.stop_alerts()
    await service.stop_alerts()
    assert await service.check_alerts() == []
    assert not [each for each in asyncio.all_tasks() if each.get_name() == "cascada:alerts"]


@pytest.mark.parametrize("wrong", [
    {"figure": "speed"}, {"limit": -1}, {"limit": "0.8"}, {"lasts": -1}, {"clears": 0.7},
    {"figure": "errors", "limit": 3, "clears": 4}, {"limit": 80}, {"figure": "memory", "limit": 80},
])  # fmt: skip
def test_no_rule_without_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        AlertRule(**{"figure": "hit_ratio", "limit": 0.8, **wrong})


@pytest.mark.parametrize("wrong", ["hit_ratio", [0.8], None])
async def test_nor_other_rules(service: CacheService, wrong: Any) -> None:
    with pytest.raises(BadInput):
        await service.start_alerts(wrong)


async def test_a_watch_ends_with_its_cache(service: CacheService, cache: Cache) -> None:
    await service.start_alerts([AlertRule("errors", 0)])
    await cache.aclose()
    await service.stop_alerts()


async def test_a_cache_that_closes_while_it_looks_is_no_failure(
    service: CacheService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    met = asyncio.Event()

    async def closing(watch: Watch) -> None:
        met.set()
        raise CacheClosed("closed meanwhile")

    monkeypatch.setattr(Watch, "look", closing)
    await service.start_alerts([AlertRule("hit_ratio", 0.8)], every=3600)
    await asyncio.wait_for(met.wait(), 10)
    await asyncio.sleep(0)
    assert not caplog.records
    await service.stop_alerts()
