"""How many entries a service keeps in memory, in hours of peak and in others."""

from __future__ import annotations

import pytest

from cascada import Cache, CacheService, Context
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsideService, inside
from tests.service.conftest import MakeService


@pytest.fixture
async def memory(clock: ManualClock) -> Cache:
    return Cache(clock=clock)


@pytest.fixture
def service(memory: Cache) -> CacheService:
    service = CacheService(cache=memory, time_zone="UTC")
    service.settings.update(DEFAULT_CACHE_SIZE=10, PEAK_CACHE_SIZE=20, DEFAULT_TTL=0, PEAK_TTL=0)
    return service


async def write(service: CacheService, first: int, last: int) -> None:
    for number in range(first, last):
        assert await service.set(f"k:{number}", number)


async def held(service: CacheService, of: int) -> list[int]:
    return [n for n in range(of) if await service.get(f"k:{n}") is not None]


async def evictions(cache: Cache) -> int:
    return (await cache.stats()).tiers["l1"].evictions


async def test_the_size_follows_the_hour(
    service: CacheService, memory: Cache, clock: ManualClock
) -> None:
    await write(service, 0, 30)
    assert len(await held(service, 30)) == 10
    assert await evictions(memory) == 20
    await write(service, 30, 80)  # the 52nd is the first of an hour of peak
    assert len(await held(service, 80)) == 20
    clock.advance(3600)
    await write(service, 80, 81)
    assert len(await held(service, 81)) == 10
    assert (await held(service, 81))[-1] == 80, "what was just stored is no victim"


async def test_it_is_of_this_service_alone(service: CacheService, memory: Cache) -> None:
    acme = memory.tenant("acme")
    for number in range(50):
        await acme.set("x", number, number)
    other = CacheService(cache=memory, name="other", time_zone="UTC")
    await write(other, 0, 50)
    await write(service, 0, 50)
    assert len(await held(service, 50)) == 10
    assert len(await held(other, 50)) == 50
    assert all([await acme.get("x", number) for number in range(50)])


async def test_no_tenant_empties_another(service: CacheService) -> None:
    with Context(tenant_id="umbrella"):
        await write(service, 0, 3)
    await write(service, 0, 40)
    with Context(tenant_id="umbrella"):
        assert len(await held(service, 3)) == 3
        await write(service, 3, 40)
    assert len(await held(service, 40)) == 5


async def test_what_goes_is_right_whatever_else_goes(service: CacheService, memory: Cache) -> None:
    """The count of the bound is that of the records, after each way in which one can go."""
    service.settings["USAGE_THRESHOLD"] = 1000
    await write(service, 0, 8)
    await service.delete("k:1")
    await service.set("k:2", "again")
    await service.clear("k:*")
    await write(service, 0, 30)
    assert len(inside(memory).memory.records) == 10
    inside(memory).memory.flush()
    await write(service, 30, 45)
    assert len(await held(service, 45)) == 10
    assert len(inside(memory).memory.records) == 10


async def test_a_lower_limit_is_kept_while_it_runs(service: CacheService) -> None:
    await write(service, 0, 10)
    service.settings["DEFAULT_CACHE_SIZE"] = 3
    await write(service, 10, 11)
    assert len(await held(service, 11)) == 3


@pytest.mark.parametrize("tier", ["sqlite"], indirect=True)
async def test_what_reads_bring_up_counts(make_service: MakeService) -> None:
    """And what leaves memory is found below it."""
    before, after = make_service(), make_service()
    await write(before, 0, 40)
    after.settings["DEFAULT_CACHE_SIZE"] = 10
    assert len(await held(after, 40)) == 40
    assert (await after.get_metrics()).memory_usage_bytes > 0
    assert len(inside(InsideService(after).cache).memory.records) <= 10
