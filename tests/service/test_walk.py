"""`clear` by a pattern that no name stands for, among more keys than one step looks at."""

from __future__ import annotations

import statistics
import time

import pytest

from cascada import Cache, CacheService, TierUnavailable
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsideService, inside
from cascada.tiers.walks import STEP
from tests.service.conftest import MakeService

KEYS = STEP + 100


async def test_it_goes_through_all_of_them(make_service: MakeService) -> None:
    service = make_service()
    acme = InsideService(service).cache.tenant("acme")
    names = ("service.default", "service.defaul", "service.defaultt")
    for data_type in names:
        many = KEYS if data_type == "service.default" else 10
        await acme.set_many(data_type, {f"k:{n}": n for n in range(many)})
    inside(acme).memory.flush()
    assert await service.clear("*:*9") == KEYS // 10
    assert await service.clear("*:*9") == 0
    assert await service.clear("?:?") == 9
    assert await service.clear("[!x]*") == KEYS - KEYS // 10 - 9
    for data_type in names[1:]:
        assert len([hit for hit in await acme.get_many(data_type, ["k:8", "k:9"]) if hit]) == 2


@pytest.mark.parametrize("tier", ["redis"], indirect=True)
async def test_keys_of_another_hand_are_none_of_ours(
    make_service: MakeService, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("redis_server")
    service = make_service()
    await service.set("k:1", 1)
    for text in ("k%zz", "agent:x", "%FF%FE"):
        server.say("SET", f"cascada.0:{{b0}}:v:acme:service.default:{text}", "x")
    assert await service.clear("*1") == 1


@pytest.mark.parametrize("tier", ["redis"], indirect=True)
async def test_a_tier_that_does_not_tell_is_told_of(
    make_service: MakeService, request: pytest.FixtureRequest
) -> None:
    """What it has, others may go on reading: it is no clear."""
    server = request.getfixturevalue("redis_server")
    service = make_service()
    await service.set("k:1", 1)
    server.say("ACL", "SETUSER", "default", "-scan")
    try:
        with pytest.raises(TierUnavailable, match="scan"):
            await service.clear("*1")
    finally:
        server.say("ACL", "SETUSER", "default", "+scan")


async def test_a_group_goes_in_one_step_however_many_it_has(clock: ManualClock) -> None:
    """Medians of a few clears; `benchmarks/clearing.py` measures it with a million keys."""
    cache = Cache(clock=clock)
    took = {}
    for keys in (10, 1000):
        service = CacheService(name=f"of {keys}", cache=cache)
        service.settings["DEFAULT_CACHE_SIZE"] = service.settings["PEAK_CACHE_SIZE"] = 2000
        await service.set("k:0", 0)
        values = {f"k:{number}": number for number in range(1, keys)}
        tag = f"service.{service.name}:k"
        await cache.tenant("acme").set_many(f"service.{service.name}", values, tags=[tag])
        times = []
        for number in range(9):
            began = time.perf_counter()
            cleared = await service.clear("k:*")
            times.append(time.perf_counter() - began)
            assert cleared >= keys if number == 0 else cleared >= 1
            await service.set("k:0", number)
        took[keys] = statistics.median(times)
    assert took[1000] < 10 * took[10]
    await cache.aclose()
