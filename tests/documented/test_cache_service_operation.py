"""Document V, what its `CacheService` is for, and how it is run: performance, security, trouble."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cascada import Alert, AlertRule, Cache, CacheService, Context, Limits, Mapping, Policy
from cascada.integrations.prometheus import exposition
from cascada.testing.clock import ManualClock
from tests.documented import cache_service as document
from tests.documented.sections import without_a_test
from tests.servers.redis import RedisServer, free_port

SECTIONS = [
    "vision_general",
    "funcionalidades_gestion_de_cache",
    "funcionalidades_optimizacion",
    "funcionalidades_monitoreo",
    "rendimiento_tamano_de_cache",
    "rendimiento_ttl",
    "rendimiento_patrones_de_invalidacion",
    "rendimiento_compresion",
    "rendimiento_serializacion",
    "seguridad_autenticacion",
    "seguridad_cifrado",
    "seguridad_aislamiento",
    "seguridad_limites",
    "solucion_alta_tasa_de_fallos",
    "solucion_uso_excesivo_de_memoria",
    "solucion_latencia_alta",
    "solucion_errores_de_sincronizacion",
    "comandos_utiles",
]


def test_every_section_has_its_test() -> None:
    assert without_a_test("v", SECTIONS, globals()) == []


@pytest.fixture(autouse=True)
def tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


@pytest.fixture
def clock() -> ManualClock:
    """8 in the evening, UTC."""
    return ManualClock(1_781_121_600.0)


MakeCache = Callable[..., Cache]


@pytest.fixture
async def make_cache(clock: ManualClock) -> AsyncIterator[MakeCache]:
    made: list[Cache] = []

    def make(**options: Any) -> Cache:
        limits = Limits(op_timeout=10, **options.pop("limits", {}))
        made.append(Cache(clock=clock, limits=limits, **options))
        return made[-1]

    yield make
    for cache in made:
        await cache.aclose()


@pytest.fixture
def service(make_cache: MakeCache) -> CacheService:
    return CacheService(cache=make_cache(), time_zone="UTC")


def stored(server: RedisServer, key: str) -> bytes:
    """A value as Redis has it."""
    return server.say("HGETALL", f"cascada.0:{{b0}}:v:acme:service.default:{key}") + server.say(
        "GET", f"cascada.0:{{b0}}:v:acme:service.default:{key}"
    )


async def logged(caplog: pytest.LogCaptureFixture, said: str) -> None:
    """Connections are made in the background."""
    async with asyncio.timeout(60):
        while said not in caplog.text:  # noqa: ASYNC110 - it waits for a server
            await asyncio.sleep(0.01)


# --- Visión general, funcionalidades --------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The `dict` method is deprecated")
async def test_v_vision_general(service: CacheService) -> None:
    """A layer over the database, which is asked less."""
    supabase = document.Supabase()
    supabase.insert("c1", "Spring", 12.5)
    campaigns = document.CampaignService(supabase, service)
    for _ in range(100):
        assert (await campaigns.get_campaign("c1")).name == "Spring"
    assert supabase.asked == ["c1"]


async def test_v_funcionalidades_gestion_de_cache(
    service: CacheService, clock: ManualClock
) -> None:
    """Values are stored, found, invalidated, and live as long as their kind does."""
    await service.set("campaign:1", "c", ttl=600)
    await service.set("client:1", "c", ttl=60)
    assert await service.get("campaign:1") == await service.get("client:1") == "c"
    clock.advance(61)
    assert [await service.get(key) for key in ("campaign:1", "client:1")] == ["c", None]
    assert await service.clear("campaign:*") == 1
    assert await service.get("campaign:1") is None


async def test_v_funcionalidades_optimizacion(service: CacheService, clock: ManualClock) -> None:
    """What is adapted, what is loaded before anybody asks, what is counted."""
    for number in range(51):
        await service.set(f"k:{number}", number)
    assert (service.adaptive_ttl(), service.is_peak_hour(20)) == (1800, True)
    (hour,) = service.hourly_access_stats
    assert (hour["hour"], hour["count"]) == (20, 51)
    for _ in range(5):
        await service.get("k:7")
    clock.advance(7200)
    assert await service.get("k:7") is None
    asked = []

    async def load(key: str) -> str:
        asked.append(key)
        return f"row of {key}"

    await service.warm(top=1, loader=load)
    assert asked == ["k:7"]
    assert await service.get("k:7") == "row of k:7"


async def test_v_funcionalidades_monitoreo(service: CacheService, clock: ManualClock) -> None:
    """Rates, latency and memory; an alert; the same for Prometheus."""
    await service.set("k", "v" * 100)
    for key in ("k", "k", "k", "n"):
        await service.get(key)
    metrics = await service.get_metrics()
    assert (metrics.hit_rate, metrics.memory_usage_bytes > 100) == (0.75, True)
    told: list[Alert] = []
    rule = AlertRule("hit_ratio", 0.8, lasts=30)
    await service.start_alerts([rule], told.append)
    for _ in range(5):
        for key in ("k", "k", "k", "n"):
            await service.get(key)
        clock.advance(10)
        await service.check_alerts()
    assert [each.rule for each in told] == [rule]
    await service.stop_alerts()
    page = (await exposition(service.cache)).decode()
    labels = 'data_type="service.default",layer="l1"'
    assert f"cache_hit_total{{{labels}}} 18.0" in page
    assert f"cache_miss_total{{{labels}}} 6.0" in page
    for name in ("cache_response_time_seconds_bucket", 'cache_size_bytes{layer="l1"}'):
        assert name in page


# --- Consideraciones de rendimiento ---------------------------------------------------------------


async def test_v_rendimiento_tamano_de_cache(
    make_cache: MakeCache, redis_server: RedisServer
) -> None:
    """What the entries take in Redis is told, and bounded."""
    redis_server.flush()
    cache = make_cache(redis=redis_server.url)
    service = CacheService(cache=cache)
    for number in range(100):
        await service.set(f"k:{number}", {"text": "x" * 1000, "number": number})
    said = (await exposition(cache)).decode()
    (line,) = [
        each for each in said.splitlines() if each.startswith('cache_size_bytes{layer="l2"}')
    ]
    assert float(line.split()[1]) > 100 * 100


async def test_v_rendimiento_ttl(service: CacheService, clock: ManualClock) -> None:
    """What changes often lives for less long: by call, and by the settings while it runs."""
    service.settings["DEFAULT_TTL"] = 60
    await service.set("often", 1, ttl=5)
    await service.set("seldom", 1)
    clock.advance(6)
    assert [await service.get(key) for key in ("often", "seldom")] == [None, 1]
    clock.advance(60)
    assert await service.get("seldom") is None


async def test_v_rendimiento_patrones_de_invalidacion(service: CacheService) -> None:
    """What has changed goes, and nothing else."""
    for key in ("campaign:1", "campaign:2", "client:1"):
        await service.set(key, key)
    assert await service.delete("campaign:1")
    assert await service.get("campaign:2") == "campaign:2"
    assert await service.clear("campaign:*") == 1
    assert await service.get("client:1") == "client:1"


async def test_v_rendimiento_compresion(make_cache: MakeCache, redis_server: RedisServer) -> None:
    redis_server.flush()
    service = CacheService(cache=make_cache(redis=redis_server.url))
    large = {"text": "the same again " * 2000}
    await service.set("k", large)
    assert 0 < len(stored(redis_server, "k")) < 3000
    assert await CacheService(cache=make_cache(redis=redis_server.url)).get("k") == large


async def test_v_rendimiento_serializacion(
    make_cache: MakeCache, redis_server: RedisServer
) -> None:
    """Smaller than as JSON, and exact."""
    redis_server.flush()
    service = CacheService(cache=make_cache(redis=redis_server.url))
    value = {"ids": list(range(500)), "ratio": 0.1, "none": None, "raw": b"\x00\xff"}
    await service.set("k", value)
    assert await CacheService(cache=make_cache(redis=redis_server.url)).get("k") == value
    assert len(stored(redis_server, "k")) < 1900


# --- Consideraciones de seguridad -----------------------------------------------------------------


async def test_v_seguridad_autenticacion(
    make_cache: MakeCache, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.say("CONFIG", "SET", "requirepass", "open sesame")
    for password, there in (("open sesame", True), ("a guess", False)):
        cache = make_cache(redis=server.url, redis_password=password)
        service = CacheService(cache=cache, database="sqlite:////nowhere/at/all.db")
        assert await service.set("k", 1) is there
        assert password not in f"{cache!r} {service!r} {caplog.text}"
    await logged(caplog, "WRONGPASS")


async def test_v_seguridad_cifrado(make_cache: MakeCache, redis_server: RedisServer) -> None:
    redis_server.flush()
    keys = "a:" + base64.b64encode(bytes(range(32))).decode()

    def one() -> CacheService:
        policies = {"service.default": Policy(sensitive=True)}
        where = {"redis": redis_server.url, "encryption_keys": keys}
        return CacheService(cache=make_cache(policies=policies, **where))

    await one().set("k", {"card": "5105 1051"})
    assert stored(redis_server, "k")
    assert b"5105" not in stored(redis_server, "k")
    assert await one().get("k") == {"card": "5105 1051"}


async def test_v_seguridad_aislamiento(make_cache: MakeCache, server: RedisServer) -> None:
    """An environment, a database of Redis: what one sets, deletes or flushes is its own."""
    one, other = (
        CacheService(cache=make_cache(redis=server.url.replace("/0", f"/{number}")))
        for number in (1, 2)
    )
    await one.set("k", "production")
    assert await other.get("k") is None
    await other.set("k", "test")
    await other.clear()
    assert await one.get("k") == "production"
    with Context(tenant_id="umbrella"):
        assert await one.get("k") is None, "nor is a tenant's another's"


async def test_v_seguridad_limites(make_cache: MakeCache) -> None:
    """Of a service's entries memory keeps so many, and of all so many bytes."""
    cache = make_cache(limits={"l1_bytes": 200_000})
    service = CacheService(cache=cache, time_zone="UTC")
    service.settings["DEFAULT_CACHE_SIZE"] = service.settings["PEAK_CACHE_SIZE"] = 10
    for number in range(30):
        await service.set(f"k:{number}", number)
    assert (await cache.stats()).tiers["l1"].evictions == 20
    service.settings["DEFAULT_CACHE_SIZE"] = service.settings["PEAK_CACHE_SIZE"] = 1000
    for number in range(300):
        await service.set(f"k:{number}", "v" * 2000)
    assert (await cache.stats()).tiers["l1"].size_bytes <= 200_000


# --- Solución de problemas ------------------------------------------------------------------------


async def test_v_solucion_alta_tasa_de_fallos(service: CacheService, clock: ManualClock) -> None:
    """The ttl, what was invalidated, and which keys are read can be looked at."""
    acme = service.cache.tenant("acme")
    await service.set("k", 1, ttl=60)
    assert await acme.ttl("service.default", "k") == pytest.approx(60, abs=1)
    clock.advance(61)
    assert await service.get("k") is None
    assert (await acme.explain("service.default", "k")).verdict.startswith("a miss")
    await service.set("k", 1)
    await service.clear("k:*")
    await service.delete("k")
    assert await acme.ttl("service.default", "k") is None
    assert (await service.get_metrics()).hit_rate == 0
    assert service.hourly_access_stats[0]["count"] == 2


async def test_v_solucion_uso_excesivo_de_memoria(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    """Which values are large is told, by kind; the sizes are."""
    policies = {"service.default": Policy(bulky_bytes=10_000)}
    cache = make_cache(policies=policies)
    service = CacheService(cache=cache)
    await service.set("small", "v")
    await service.set("large", Random(1).randbytes(25_000))
    assert "acme:service.default:large has " in caplog.text
    assert "small" not in caplog.text
    assert (await service.get_metrics()).memory_usage_bytes > 25_000


async def test_v_solucion_latencia_alta(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names why there is no connection to Redis; whether there is one is a metric."""
    cache = make_cache(redis=f"redis://127.0.0.1:{free_port()}/0")
    service = CacheService(cache=cache)
    await service.set("k", 1)
    assert await service.get("k") == 1
    await logged(caplog, "connection refused")
    page = (await exposition(cache)).decode()
    assert 'cache_tier_up{layer="l2"} 0.0' in page
    assert "cache_response_time_seconds_bucket" in page


async def test_v_solucion_errores_de_sincronizacion(
    make_cache: MakeCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log, the report and the metric say which kind of error it was."""
    there = tmp_path / "supabase.db"
    with closing(sqlite3.connect(there)) as connection, connection:
        connection.execute("CREATE TABLE checked (id text PRIMARY KEY, n int CHECK (n < 5))")
    cache = make_cache(database=str(tmp_path / "cache.db"))
    services = []  # which are told of for as long as they are there
    for name, url, cause in (
        ("away", "postgresql://nobody@127.0.0.1:1/none", "connection"),
        ("missing", f"sqlite:///{there}", "schema"),
    ):
        mappings = [Mapping("x:", "no_such_table", ["n"])]
        service = CacheService(name=name, cache=cache, database=url, mappings=mappings)
        services.append(service)
        await service.set("x:1", {"n": 1})
        assert (await service.sync_now()).errors == {cause: 1}
        assert f"sync of {name} failed: {cause}: " in caplog.text
    mappings = [Mapping("c:", "checked", ["n"])]
    service = CacheService(
        name="wrong", cache=cache, database=f"sqlite:///{there}", mappings=mappings
    )
    await service.set("c:1", {"n": 10})
    await service.set("c:2", {"n": 1})
    assert (await service.sync_now()).written == 1, "it holds up nobody else"
    (aside,) = await service.sync_set_aside()
    assert (aside.key, aside.cause) == ("c:1", "constraint")
    page = (await exposition(cache)).decode()
    assert 'cache_sync_errors_total{cause="connection",service="away"} 1.0' in page
    assert 'cache_sync_set_aside{service="wrong"} 1.0' in page


async def test_v_comandos_utiles(make_cache: MakeCache, server: RedisServer) -> None:
    service = CacheService(cache=make_cache(redis=server.url))
    await service.set("campaign:1", 1)
    assert server.say("MONITOR").startswith(b"+OK")
    assert b"used_memory:" in server.say("INFO")
    assert b":v:acme:service.default:campaign%3A1" in server.say("KEYS", "*")
    assert server.say("FLUSHDB").startswith(b"+OK")
    other = CacheService(cache=make_cache(redis=server.url))
    assert await other.get("campaign:1") is None
    assert await other.set("campaign:1", 2), "it is used again at once"
    assert await CacheService(cache=make_cache(redis=server.url)).get("campaign:1") == 2
    await asyncio.sleep(0)
