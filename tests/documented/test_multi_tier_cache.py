"""Document N, the three-tier cache: each of its examples runs as it is printed, and does what the
text beside it says."""

import asyncio
import re

import httpx
import pytest
from fastapi import FastAPI

from cascada import (
    TTL_DYNAMIC,
    TTL_PERSONAL,
    TTL_STATIC,
    Cache,
    CacheManager,
    CachePriority,
    delete_cached_value,
    get_cache_analytics,
    get_cached_value,
    personalized_cache,
    set_cached_value,
    standard_cache,
    tagged_cache,
)
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.api.settled import settled
from tests.documented import multi_tier_cache as document
from tests.documented.observed import answer
from tests.documented.sections import without_a_test
from tests.scenarios.conftest import MakeCache
from tests.servers.redis import RedisServer

SECTIONS = [
    "arquitectura",
    "uso_basico_guardar_y_obtener_valores",
    "uso_basico_decoradores",
    "estrategias_standard_cache",
    "estrategias_stale_while_revalidate",
    "estrategias_tagged_cache",
    "estrategias_personalized_cache",
    "metricas_estadisticas_completas",
    "metricas_optimizacion_automatica",
    "mejores_practicas_ttl_apropiados",
    "integracion_con_fastapi",
    "casos_de_uso_respuestas_de_agentes",
    "casos_de_uso_perfiles_de_usuario",
    "casos_de_uso_metricas_del_dashboard",
    "casos_de_uso_configuraciones",
    "seguridad_limpiar_cache_en_logout",
]


def test_every_section_has_its_test() -> None:
    assert without_a_test("n", SECTIONS, globals()) == []


@pytest.fixture(autouse=True)
def tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document's calls name none: the environment does."""
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    document.computed.clear()
    document.agent.asked.clear()
    document.db.asked.clear()


async def test_n_arquitectura(cache: Cache, tiers: str) -> None:
    await standard_cache.set("k", 1)
    names = {"memory": {"l1"}, "sqlite": {"l1", "l3"}, "redis and sqlite": {"l1", "l2", "l3"}}
    assert await answer(cache) == names[tiers]


# --- Uso Básico ---------------------------------------------------------------------------------


async def test_n_uso_basico_guardar_y_obtener_valores(cache: Cache) -> None:
    assert await document.guardar_y_obtener() == {"name": "John", "age": 30}
    assert await get_cached_value("user:124:profile") is None
    # A value is the tenant's, and its caller's own.
    with_other = await cache.tenant("other").get("cached_value", "user:123:profile")
    assert not with_other
    assert await delete_cached_value("user:123:profile")
    assert not await delete_cached_value("user:123:profile")
    assert await get_cached_value("user:123:profile", default="none") == "none"


async def test_n_uso_basico_decoradores(cache: Cache) -> None:
    first = await document.get_expensive_data("a")
    assert await document.get_expensive_data(param="a") == first == {"param": "a"}
    await document.get_expensive_data("b")
    assert document.computed == ["a", "b"]


# --- Estrategias de Caché -----------------------------------------------------------------------


async def test_n_estrategias_standard_cache(cache: Cache, clock: ManualClock) -> None:
    assert await document.standard() == "value"
    clock.advance(3599)
    assert await standard_cache.get("key") == "value"
    clock.advance(2)
    assert await standard_cache.get("key", default="gone") == "gone"
    await document.standard()
    assert await standard_cache.delete("key")
    assert await standard_cache.get("key") is None


async def test_n_estrategias_stale_while_revalidate(cache: Cache, clock: ManualClock) -> None:
    assert await document.swr() == {"n": 1}
    assert await document.swr() == {"n": 1}
    clock.advance(3601)  # REDIS_CACHE_TTL
    assert await get_cached_value("metrics") is None  # which takes nothing stale
    assert await document.swr() == {"n": 1}, "at once, and stale"
    await settled()
    assert len(document.api.asked) == 2
    assert await document.swr() == {"n": 2}
    assert await get_cached_value("metrics") == {"n": 2}
    clock.advance(7201)  # as long again has passed, too
    assert await document.swr() == {"n": 3}


async def test_n_estrategias_tagged_cache(cache: Cache) -> None:
    assert await document.tagged({"title": "one"}) == 1
    assert await tagged_cache.get("article:1") is None
    await tagged_cache.set("article:2", 2, tags=["sports"])
    await tagged_cache.set("article:3", 3, tags=["nutrition"], ttl=60)
    assert await tagged_cache.delete_by_tag("nutrition") == 1
    assert await tagged_cache.delete_by_tag("nutrition") == 0
    assert await tagged_cache.get("article:2") == 2
    assert await tagged_cache.get("article:3") is None


async def test_n_estrategias_personalized_cache(cache: Cache) -> None:
    await document.personalized({"theme": "dark"}, ["r1"])
    get = personalized_cache.get
    assert await get("preferences", user_id="user_123") == {"theme": "dark"}
    assert await get("preferences", user_id="user_124", default=0) == 0
    assert await get("preferences") is None
    assert await get("recommendations", segments=["premium_users"]) == ["r1"]
    await set_cached_value("recommendations", ["for all"])
    assert await get("recommendations", "user_123", ["new", "premium_users"]) == ["r1"]
    assert await get("recommendations", "user_123", ["new"]) == ["for all"]
    await personalized_cache.set("recommendations", ["own"], user_id="user_123")
    assert await get("recommendations", "user_123", ["new", "premium_users"]) == ["own"]
    assert await get("recommendations", "user_124", ["new", "premium_users"]) == ["r1"]
    assert await personalized_cache.delete("recommendations", user_id="user_123")
    assert await get("recommendations", "user_123", ["new", "premium_users"]) == ["r1"]


# --- Métricas y Analíticas ----------------------------------------------------------------------


async def test_n_metricas_estadisticas_completas(
    warm: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    await document.estadisticas()
    nothing = [f"l{n}: 0.00% hit ratio" for n in (1, 2, 3)]
    assert capsys.readouterr().out.splitlines() == [
        "Hit ratio: 0.00%", "Response time: 0.0ms", *nothing
    ]  # fmt: skip
    await standard_cache.set("k", "v" * 100, priority=CachePriority.HIGH)
    assert [await standard_cache.get(key) for key in "kkkn"].count(None) == 1
    await document.estadisticas()
    said = capsys.readouterr().out
    assert said.startswith("Hit ratio: 75.00%\n")
    assert re.search(r"^l1: 75.00% hit ratio$", said, re.M)
    told = await get_cache_analytics()
    assert told["global_statistics"]["total_requests"] == 4
    memory = told["layer_statistics"]["l1"]
    assert (memory["hits"], memory["misses"], memory["entries"]) == (3, 1, 2)
    assert memory["capacity_bytes"] > memory["size_bytes"] > 100
    for name, data in told["layer_statistics"].items():
        there = name in await answer(warm)
        assert (data["capacity_bytes"] > 0) is there, "an absent layer is 0 in all"
        assert there or not any(data.values())


async def test_n_metricas_optimizacion_automatica(cache: Cache, tiers: str) -> None:
    await set_cached_value("k", "v")
    for _ in range(3):
        inside(cache).memory.flush()  # a process that has just begun
        await get_cached_value("k")
    inside(cache).memory.flush()
    result = await document.optimizacion()
    moves = [(each["key"], each["to"]) for each in result["moves"]]
    assert moves == ([] if tiers == "memory" else [("acme:cached_value:k", "l1")])
    assert result["moved"]["entries"] == len(moves)
    assert result["expected"]["hits"] == pytest.approx(10_000 * len(moves))


# --- Mejores Prácticas --------------------------------------------------------------------------


def test_n_mejores_practicas_ttl_apropiados() -> None:
    assert (TTL_STATIC, TTL_DYNAMIC, TTL_PERSONAL) == (7200, 300, 3600)


# --- Integración con FastAPI --------------------------------------------------------------------


async def test_n_integracion_con_fastapi(cache: Cache) -> None:
    app = FastAPI()
    app.include_router(document.router)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answers = [(await http.get(f"/api/v1/agents/{name}")).json() for name in ("a1", "a1", "a2")]
    assert answers == [
        {"data": {"id": "a1"}, "cached": False},
        {"data": {"id": "a1"}, "cached": True},
        {"data": {"id": "a2"}, "cached": False},
    ]
    assert document.db.asked == ["a1", "a2"]


# --- Casos de Uso Recomendados ------------------------------------------------------------------


async def test_n_casos_de_uso_respuestas_de_agentes(cache: Cache) -> None:
    assert await document.get_agent_response("a1", "hi") == "answer to hi"
    assert await document.get_agent_response("a1", "hi") == "answer to hi"
    await document.get_agent_response("a2", "hi")
    assert document.agent.asked == ["hi", "hi"]


async def test_n_casos_de_uso_perfiles_de_usuario(cache: Cache, clock: ManualClock) -> None:
    await document.perfil("u1", {"name": "John"})
    assert await get_cached_value("user:u1:full_profile") == {"name": "John"}
    clock.advance(3601)
    assert await get_cached_value("user:u1:full_profile") is None


async def test_n_casos_de_uso_metricas_del_dashboard(cache: Cache, clock: ManualClock) -> None:
    calculated: list[int] = []

    def calculate_metrics() -> dict[str, int]:
        calculated.append(1)
        return {"n": len(calculated)}

    assert await document.dashboard(calculate_metrics) == {"n": 1}
    clock.advance(3601)
    answers = await asyncio.gather(*(document.dashboard(calculate_metrics) for _ in range(100)))
    assert answers == [{"n": 1}] * 100
    await settled()
    assert await document.dashboard(calculate_metrics) == {"n": 2}
    assert len(calculated) == 2


async def test_n_casos_de_uso_configuraciones(
    cache: Cache, clock: ManualClock, tiers: str, request: pytest.FixtureRequest
) -> None:
    await document.configuraciones({"dark": True})
    clock.advance(29 * 86400)
    assert await get_cached_value("config:app_settings") == {"dark": True}
    if "redis" in tiers:  # whose restart must not forget it
        server: RedisServer = request.getfixturevalue("redis_server")
        server.flush()
        inside(cache).memory.flush()
        assert await get_cached_value("config:app_settings") == {"dark": True}


# --- Consideraciones de Seguridad ---------------------------------------------------------------


async def test_n_seguridad_limpiar_cache_en_logout(
    cache: Cache, tiers: str, make_cache: MakeCache
) -> None:
    here, there = cache, cache if tiers == "memory" else make_cache()
    for user in ("u1", "u2"):
        for key in ("preferences", "cart"):
            await personalized_cache.set(key, user, user_id=user)
    await personalized_cache.set("cart", "of all")
    CacheManager.configure(there)
    # In the memory of another process, too, in each form in which a read may keep it.
    assert await personalized_cache.get("cart", "u1", ["premium", "new"]) == "u1"
    assert await personalized_cache.get("cart", "u1") == "u1"
    CacheManager.configure(here)
    await document.logout("u1")
    assert await cart_of("u1") == ["of all", "of all"]
    CacheManager.configure(there)
    for _ in range(500):  # it hears of it a few milliseconds later
        if await cart_of("u1") == ["of all", "of all"]:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("it is still there")
    assert await personalized_cache.get("preferences", "u1") is None
    assert await personalized_cache.get("cart", "u2") == "u2"


async def cart_of(user: str) -> list[object]:
    segments: tuple[list[str], ...] = ([], ["premium", "new"])
    return [await personalized_cache.get("cart", user, each) for each in segments]
