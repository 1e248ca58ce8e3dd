"""Document V, the methods of its `CacheService`: each does what the text beside it says."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from cascada import BadInput, Cache, CacheMetrics, CacheService, Context, SerializationError
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.documented.observed import answer
from tests.documented.sections import without_a_test
from tests.scenarios.conftest import MakeCache

SECTIONS = [
    "gestion_de_cache",
    "optimizacion_get_adaptive_ttl",
    "optimizacion_is_peak_hour",
    "optimizacion_record_access",
    "monitoreo_get_metrics",
    "monitoreo_clear",
]
MADRID = ZoneInfo("Europe/Madrid")


def test_every_section_has_its_test() -> None:
    assert without_a_test("v", SECTIONS, globals()) == []


@pytest.fixture(autouse=True)
def as_acme() -> Iterator[None]:
    with Context(tenant_id="acme"):
        yield


def at(*moment: int) -> float:
    return datetime(*moment, tzinfo=MADRID).timestamp()  # type: ignore[arg-type, misc]  # of a date


@pytest.fixture
def clock() -> ManualClock:
    """Outside of the hours of an office."""
    return ManualClock(at(2026, 6, 10, 20, 30))


@pytest.fixture
def service(cache: Cache) -> CacheService:
    return CacheService(cache=cache, time_zone="Europe/Madrid")


async def ttl(cache: Cache, key: str) -> float | None:
    return await cache.tenant("acme").ttl("service.default", key)


async def test_v_gestion_de_cache(service: CacheService, cache: Cache, clock: ManualClock) -> None:
    assert await service.get("k") is None
    assert await service.set("k", {"a": 1})
    assert await service.get("k") == {"a": 1}
    got = await service.get("k")
    got["a"] = 2
    assert await service.get("k") == {"a": 1}, "a value is its caller's own"
    assert await service.set("k", {"a": 3}, ttl=60)
    assert await ttl(cache, "k") == pytest.approx(60, abs=1)
    clock.advance(61)
    assert await service.get("k", "gone") == "gone"
    assert await service.set(7, 0, ttl=0)
    assert await ttl(cache, "7") == float("inf")
    assert await service.get("7", "gone") == 0, "0 is a value, and 7 is the key of 7"
    assert await service.delete("7")
    assert not await service.delete("7")
    assert await service.set("k", None), "which removes what is there"
    with pytest.raises(SerializationError):
        await service.set("k", object())
    for wrong in (-1, True, "60"):
        with pytest.raises(BadInput, match="ttl"):
            await service.set("k", 1, wrong)  # type: ignore[arg-type]  # a wrong one
    for key in ("", None, 1.5, ["k"]):
        with pytest.raises(BadInput, match="key"):
            await service.get(key)  # type: ignore[arg-type]  # a wrong one


async def test_v_gestion_de_cache_services_and_tenants_are_apart(make_cache: MakeCache) -> None:
    cache = make_cache()
    one, other = CacheService(cache=cache), CacheService(name="other", cache=cache)
    await one.set("k:1", 1)
    await other.set("k:1", 2)
    await cache.tenant("acme").set("cached_value", "k:1", 3, tags=["k"])
    with Context(tenant_id="umbrella"):
        assert await one.get("k:1") is None
        await one.set("k:1", 4)
    assert await one.clear("k:*") == 1
    assert (await one.get("k:1"), await other.get("k:1")) == (None, 2)
    assert await cache.tenant("acme").get("cached_value", "k:1")
    with Context(tenant_id="umbrella"):
        assert await one.get("k:1") == 4


async def test_v_optimizacion_get_adaptive_ttl(
    service: CacheService, cache: Cache, clock: ManualClock
) -> None:
    assert service.adaptive_ttl() == 3600
    for number in range(50):
        await service.set(f"k:{number}", number)
    await service.set("k:50", 50)
    assert await ttl(cache, "k:50") == pytest.approx(3600, abs=1), "50 are not over the threshold"
    await service.set("k:51", 51)
    assert await ttl(cache, "k:51") == pytest.approx(1800, abs=1)
    service.settings["PEAK_TTL"] = 600
    await service.set("k:52", 52)
    assert await ttl(cache, "k:52") == pytest.approx(600, abs=1)
    clock.advance(3600)
    await service.set("k:53", 53)
    assert await ttl(cache, "k:53") == pytest.approx(3600, abs=1)


async def test_v_optimizacion_reads_count_on_request(cache: Cache) -> None:
    service = CacheService(cache=cache, count="all", time_zone="Europe/Madrid")
    for _ in range(51):
        await service.get("k")
    assert service.is_peak_hour(20)
    with pytest.raises(BadInput, match="count"):
        CacheService(count="reads")  # type: ignore[arg-type]  # a wrong one


async def test_v_optimizacion_is_peak_hour(service: CacheService) -> None:
    assert [hour for hour in range(24) if service.is_peak_hour(hour)] == list(range(9, 19))
    await service.set("k", 1)
    assert not any(map(service.is_peak_hour, range(24)))
    for wrong in (-1, 24, 9.5, True, "9"):
        with pytest.raises(BadInput, match="hour"):
            service.is_peak_hour(wrong)  # type: ignore[arg-type]  # a wrong one


async def test_v_optimizacion_record_access(service: CacheService, clock: ManualClock) -> None:
    for key in "aab":
        await service.set(key, 1)
    (stat,) = service.hourly_access_stats
    assert (stat["hour"], stat["count"], len(stat["keys"])) == (20, 3, 2)
    assert stat["date"].isoformat() == "2026-06-10"
    clock.advance(7 * 86400)
    await service.set("a", 1)
    assert [each["date"].day for each in service.hourly_access_stats] == [10, 17]
    clock.advance(4 * 3600)
    assert [each["date"].day for each in service.hourly_access_stats] == [17]


async def test_v_monitoreo_get_metrics(service: CacheService) -> None:
    assert await service.get_metrics() == CacheMetrics(0, 0, 0.0, 0, 0, None)  # type: ignore[arg-type]  # 0
    await service.set("k", "v" * 1000)
    for key in ("k", "k", "k", "n"):
        await service.get(key)
    told = await service.get_metrics()
    assert (told.hit_count, told.miss_count, told.hit_rate) == (3, 1, 0.75)
    assert told.memory_usage_bytes > 100
    assert told.keys_count == 1
    assert not told.keys_count.exact


async def test_v_monitoreo_clear(service: CacheService, cache: Cache) -> None:
    for key in ("campaign:1", "campaign:2", "campaign", "client:1"):
        await service.set(key, key)
    assert await service.clear("campaign:*") == 2
    assert await service.get("campaign") == "campaign"
    cleared = await service.clear("client:1")
    assert (cleared, cleared.exact) == (1, True)
    cleared = await service.clear()
    assert 1 <= cleared <= 3, "at most: two of those that went before are in memory still"
    assert not cleared.exact
    assert await service.clear() == 0
    assert await service.get("campaign") is None
    long = "g" * 1000 + ":1"
    await service.set(long, 1)
    assert await service.clear("g" * 1000 + ":*") == 1
    await service.set("what?", 1)
    assert await service.clear("what?") == 1
    assert not inside(cache).finishing


async def test_v_monitoreo_clear_of_other_patterns_walks(
    service: CacheService, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    other = CacheService(cache=cache, name="other")
    acme = cache.tenant("acme")
    for key in ("campaign:1", "campaign:22", "client:1", "a%b*c:1"):
        await service.set(key, key)
        await other.set(key, key)
        await acme.within(agent="a1").set("service.default", key, key)
    inside(cache).memory.flush()  # a process that has just begun
    await service.set("client:21", 1)
    caplog.set_level("INFO", "cascada")
    cleared = await service.clear("*:?")
    assert (cleared, cleared.exact) == (3 if len(await answer(cache)) > 1 else 0, True)
    assert "went through all keys" in caplog.text
    assert await service.get("client:21") == 1
    for key in ("campaign:1", "client:1", "a%b*c:1"):
        assert await service.get(key) is None
    if len(await answer(cache)) > 1:
        assert await service.clear("c[!l]*:2*") == 1
        assert await other.get("campaign:1")
        assert await acme.within(agent="a1").get("service.default", "campaign:1")
