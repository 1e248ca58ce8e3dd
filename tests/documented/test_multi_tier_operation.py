"""Document N, the three-tier cache: its configuration, its layers, what is watched, what fails."""

import asyncio
import logging
import re
from pathlib import Path

import pytest

from cascada import (
    Cache,
    CacheManager,
    CachePriority,
    Policy,
    cached,
    configure,
    get_cache_analytics,
    get_cached_value,
    set_cached_value,
    standard_cache,
)
from cascada.api.settings import VARIABLES
from cascada.integrations.prometheus import exposition
from cascada.model.entry import Flag
from cascada.model.errors import Misuse
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.documented.sections import without_a_test
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

SECTIONS = [
    "configuracion_variables_de_entorno",
    "mejores_practicas_elegir_la_capa_correcta",
    "mejores_practicas_prioridades",
    "monitoreo_logs_de_cache",
    "monitoreo_metricas_prometheus",
    "troubleshooting_redis_no_disponible",
    "troubleshooting_cache_misses_altos",
    "troubleshooting_memoria_llena",
    "seguridad_datos_sensibles",
    "seguridad_ttls_cortos",
]


def test_every_section_has_its_test() -> None:
    assert without_a_test("n", SECTIONS, globals()) == []


@pytest.fixture(autouse=True)
def tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CASCADA_TENANT", "acme")


AS_PRINTED = """
REDIS_URL=redis://localhost:6379/0
REDIS_MAX_CONNECTIONS=50
REDIS_CONNECTION_TIMEOUT=20
REDIS_SOCKET_TIMEOUT=5
L1_CACHE_SIZE_MB=50
L2_CACHE_SIZE_MB=500
L3_CACHE_SIZE_MB=2000
CACHE_READ_STRATEGY=READ_THROUGH
CACHE_WRITE_STRATEGY=WRITE_THROUGH
CACHE_EVICTION_POLICY=ADAPTIVE
"""


@pytest.mark.parametrize("tiers", ["memory"])
async def test_n_configuracion_variables_de_entorno(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    for line in AS_PRINTED.split():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    configure(None)  # what the environment says
    made = Cache.from_env()
    assert made.options.limits.l1_bytes == 50 * 2**20
    assert made.options.limits.l3_bytes == 2000 * 2**20
    assert made.options.limits.redis_max_connections == 50
    configure(made)
    async with made:
        assert await standard_cache.set("k", "v")
        assert await standard_cache.get("k") == "v"


@pytest.mark.parametrize("tiers", ["redis and sqlite"])
async def test_n_mejores_practicas_elegir_la_capa_correcta(warm: Cache) -> None:
    """What is asked for often lies in memory, what is shared in Redis, what is rare in the
    database."""
    stored = {"CRITICAL": "l1 l2", "HIGH": "l1 l2", "NORMAL": "l2", "LOW": "l3"}
    read_once = {**stored, "NORMAL": "l1 l2", "LOW": "l2 l3"}
    for name, tiers in stored.items():
        await set_cached_value(name, "v", priority=CachePriority[name])
        assert await where(warm, name) == tiers
    for name, tiers in read_once.items():
        assert await get_cached_value(name) == "v"
        for _ in range(500):  # a shared tier is filled behind the read
            if await where(warm, name) == tiers:
                break
            await asyncio.sleep(0.01)
        assert await where(warm, name) == tiers


async def where(cache: Cache, name: str) -> str:
    """The tiers that hold a value of a flat key."""
    key = cache.tenant("acme").key("cached_value", name)
    there = ["l1"] if inside(cache).memory.records.get(key) is not None else []
    for tier in inside(cache).lower:
        held = await tier.holding(key)
        if held is not None and not held.entry.flags & Flag.ABSENT:
            there.append(tier.name)
    return " ".join(there)


@pytest.mark.parametrize("tiers", ["memory"])
async def test_n_mejores_practicas_prioridades(make_cache: MakeCache) -> None:
    """No room for all: what is CRITICAL stays, what is LOW goes."""
    cache = make_cache(l1_bytes=150 * 2600)  # a value weighs 2,500 bytes, with all that is of it
    CacheManager.configure(cache)
    for number in range(100):
        for priority in CachePriority:
            key = f"{priority.name}{number}"
            await set_cached_value(key, "v" * 1000, priority=priority)
    left = {
        priority.name: [
            await get_cached_value(f"{priority.name}{number}") for number in range(100)
        ].count("v" * 1000)
        for priority in CachePriority
    }
    CacheManager.configure(None)
    assert left["CRITICAL"] == 100
    assert left["LOW"] <= 5
    assert sum(left.values()) >= 140


async def test_n_monitoreo_logs_de_cache(warm: Cache, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cascada")
    await get_cached_value("metrics:daily")
    await set_cached_value("user:123:profile", "hidden", priority=CachePriority.HIGH)
    async with asyncio.timeout(10):  # until memory hears of invalidations, Redis answers
        while "Cache hit L1" not in caplog.text:
            await get_cached_value("user:123:profile")
    said = caplog.text
    assert re.search(
        r"Cache miss in all layers: acme:cached_value:metrics%3Adaily, [\d.]+ ms", said
    )
    assert re.search(r"Cache hit L1: acme:cached_value:user%3A123%3Aprofile, [\d.]+ ms", said)
    assert "hidden" not in said


async def test_n_monitoreo_metricas_prometheus(warm: Cache, tiers: str) -> None:
    await set_cached_value("k", "v", priority=CachePriority.HIGH)
    await get_cached_value("k")
    await get_cached_value("none")
    page = (await exposition(warm)).decode()
    assert re.search(r'^cache_hit_total\{data_type="cached_value",layer="l1"\} 1\.0$', page, re.M)
    for layer in {"memory": [1], "sqlite": [1, 3], "redis and sqlite": [1, 2, 3]}[tiers]:
        labels = rf'\{{data_type="cached_value",layer="l{layer}"\}}'
        assert re.search(rf"^cache_miss_total{labels} 1\.0$", page, re.M)
        assert re.search(rf'^cache_size_bytes\{{layer="l{layer}"\}} [\d.e+]+$', page, re.M)
        assert f'cache_response_time_seconds_bucket{{layer="l{layer}",le="' in page


@pytest.mark.parametrize("tiers", ["redis"])
async def test_n_troubleshooting_redis_no_disponible(
    cache: Cache, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    @cached("row")
    async def row(number: int) -> str:
        asked.append(number)
        return "v"

    await set_cached_value("k", "v")
    await get_cached_value("k")
    with redis_server.down():
        lower = inside(cache).lower[0]
        for number in range(20):
            await get_cached_value(f"none{number}")
        await until(lambda: not lower.available)
        assert [await row(1) for _ in range(5)] == ["v"] * 5
        assert asked == [1], "memory goes on alone"
    assert [text for text in caplog.messages if "Redis unavailable, serving from memory" in text]


async def test_n_troubleshooting_cache_misses_altos(cache: Cache, clock: ManualClock) -> None:
    """A short ttl, another key, nothing to cache: `explain` says which."""
    acme = cache.tenant("acme")
    await set_cached_value("short", "v", ttl=5, priority=CachePriority.HIGH)
    clock.advance(6)
    assert not await get_cached_value("short")
    assert "a miss" in str(await acme.explain("cached_value", "short"))
    assert "absent" in str(await acme.explain("cached_value", "Short"))


@pytest.mark.parametrize("tiers", ["memory"])
async def test_n_troubleshooting_memoria_llena(make_cache: MakeCache, clock: ManualClock) -> None:
    cache = make_cache(l1_bytes=100_000, eviction="lru")
    CacheManager.configure(cache)
    for number in range(200):
        await set_cached_value(f"k{number}", "v" * 1000, priority=CachePriority.HIGH)
        clock.advance(0.01)
        await get_cached_value("k0")
    memory = (await get_cache_analytics())["layer_statistics"]["l1"]
    assert memory["size_bytes"] <= memory["capacity_bytes"] == 100_000
    assert memory["evictions"] > 100
    there = [
        number for number in range(200) if cache.tenant("acme").peek("cached_value", f"k{number}")
    ]
    assert there == [0, *range(200 - len(there) + 1, 200)], "what was used last stays"
    CacheManager.configure(None)


def test_n_seguridad_datos_sensibles(tmp_path: Path) -> None:
    """Only encrypted (tests/sealing has what that is), or not at all."""
    sensitive = {"cached_value": Policy(sensitive=True)}
    with pytest.raises(Misuse, match="cached_value is sensitive, which takes keys"):
        Cache(database=str(tmp_path / "cache.db"), policies=sensitive)


async def test_n_seguridad_ttls_cortos(cache: Cache, clock: ManualClock) -> None:
    cache.set_policy("cached_value", Policy(max_ttl=60))
    await set_cached_value("token", "t", ttl=3600)
    await set_cached_value("forever", "t", ttl=None)
    clock.advance(61)
    assert await get_cached_value("token") is None
    assert await get_cached_value("forever") is None
