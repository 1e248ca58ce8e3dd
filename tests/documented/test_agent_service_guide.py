"""Document A, the guide of the Agent Service, sections 1 to 6: its examples do what it says."""

import asyncio
from typing import Any

import numpy
import pytest

import cascada
from cascada import (
    METRIC_CACHE_HIT,
    METRIC_CACHE_MISS,
    METRIC_LATENCY,
    TTL_EXTENDED,
    TTL_SHORT,
    TTL_STANDARD,
    Cache,
    CacheManager,
    Limits,
    SerializationError,
    generate_resource_id_hash,
    get_with_cache_aside,
)
from cascada.testing.clock import ManualClock
from tests.api.settled import settled
from tests.documented import agent_service_guide as service
from tests.documented.observed import put, tracked
from tests.documented.sections import without_a_test
from tests.documented.supabase import Database
from tests.scenarios.conftest import MakeCache

SECTIONS = [
    "1_introduccion",
    "2_1_componentes_principales",
    "2_2_metodos_estaticos",
    "2_2_metodos_de_instancia",
    "3_1_flujo_del_patron",
    "3_2_implementacion_unificada",
    "3_3_metricas_proporcionadas",
    "4_1_recursos_principales",
    "4_2_ejemplo_para_agentes",
    "4_3_ejemplo_para_memoria",
    "5_1_mapeo_de_ttls",
    "5_2_funcion_para_determinar_ttl",
    "6_implementacion_de_metricas",
]
"""By the number of the table of contents, then of the headings below it."""

tenant_id, agent_id = "acme", "agent123"


def test_every_section_has_its_test() -> None:
    assert without_a_test("a", SECTIONS, globals()) == []


# --- 1, 2 ---------------------------------------------------------------------------------------


async def test_a_1_introduccion(cache: Cache, database: Database) -> None:
    """The cache takes load off the database: of ten requests one reads it."""
    await database.insert("agents", id="a1", tenant_id="acme", name="Ana", temperature=0.5)
    for _ in range(10):
        assert (await service.get_agent_config("a1", "acme"))["name"] == "Ana"
        assert (await service.get_conversation_memory("acme", "c1", "a1"))["messages"] == []
    assert database.asked == ["agents", "messages"]


async def test_a_2_1_componentes_principales(make_cache: MakeCache, tiers: str) -> None:
    cache = make_cache(limits=Limits(l1_bytes=100_000))
    CacheManager.configure(cache)
    # 1. Bounded memory; 2. what it gave up is still in the tiers below.
    for number in range(100):
        await CacheManager.set("report", number, "x" * 3000 + str(number), "acme")
    memory = (await cache.stats()).tiers["l1"]
    assert memory.evictions > 0
    assert memory.size_bytes <= 100_000
    if tiers != "memory":
        for number in range(100):
            assert (await CacheManager.get("report", number, "acme")).endswith(str(number))
    # 3. The keys' order, and the search from the most specific to the most general.
    handle = cache.tenant("acme", agent="a", conversation="c", collection="l")
    assert handle.key("x", "r").text == "acme:x:agent:a:conv:c:coll:l:r"
    assert cache.tenant("acme", conversation="c").key("x", "r").text == "acme:x:conv:c:r"
    assert cache.tenant("acme").key("x", "r").text == "acme:x:r"
    await CacheManager.set("x", "r", "general", "acme")
    await CacheManager.set("x", "r", "the agent's", "acme", agent_id="a")
    get = CacheManager.get
    assert await get("x", "r", "acme", "a", "c", "l") == "the agent's"
    assert await get("x", "r", "acme", "other", "c", "l") == "general"
    assert await get("x", "r", "other") is None
    # 4. Complex objects are converted, and what cannot be is told.
    await CacheManager.set("vector_store", "v", numpy.eye(2, dtype="f4"), "acme")
    assert await get("vector_store", "v", "acme") == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(SerializationError, match=r"value\.client"):
        await CacheManager.set("x", "r", {"client": object()}, "acme")
    CacheManager.configure(None)


async def test_a_2_2_metodos_estaticos(cache: Cache) -> None:
    data_type, resource_id, value = "document", "doc_1", {"title": "t"}

    assert await CacheManager.get(data_type, resource_id, tenant_id=tenant_id) is None
    await CacheManager.set(data_type, resource_id, value, tenant_id=tenant_id)
    assert await CacheManager.get(data_type, resource_id, tenant_id=tenant_id) == value
    await CacheManager.delete(data_type, resource_id, tenant_id=tenant_id)
    assert await CacheManager.get(data_type, resource_id, tenant_id=tenant_id) is None

    await CacheManager.set(data_type, resource_id, value, tenant_id=tenant_id)
    await CacheManager.set(data_type, resource_id, value, tenant_id="other")
    assert await CacheManager.invalidate(tenant_id, data_type, resource_id=resource_id) == 1
    assert await CacheManager.get(data_type, resource_id, tenant_id=tenant_id) is None
    assert await CacheManager.get(data_type, resource_id, tenant_id="other") == value


async def test_a_2_2_metodos_de_instancia(cache: Cache) -> None:
    list_name, start, end = "messages", 0, -1
    cache_manager = CacheManager.get_instance()
    for value in ({"n": 1}, {"n": 2}, {"n": 3}):
        await cache_manager.rpush(list_name, value, tenant_id)
    assert await cache_manager.lpop(list_name, tenant_id) == {"n": 1}
    assert await cache_manager.lrange(list_name, start, end, tenant_id) == [{"n": 2}, {"n": 3}]
    assert await cache_manager.lrange(list_name, start, end, "other") == []


# --- 3 ------------------------------------------------------------------------------------------


async def test_a_3_1_flujo_del_patron(cache: Cache) -> None:
    steps: list[str] = []
    rows: dict[str, Any] = {"stored": "row"}

    async def fetch(resource_id: str, tenant_id: str, **kwargs: Any) -> Any:
        steps.append("db")
        return rows.get(resource_id)

    async def generate(resource_id: str, tenant_id: str, **kwargs: Any) -> Any:
        steps.append("generate")
        return "generated"

    async def read(resource_id: str) -> tuple[Any, str]:
        value, metrics = await get_with_cache_aside("x", resource_id, "acme", fetch, generate)
        await settled()
        steps.append(metrics["source"])
        return value

    assert await read("stored") == await read("stored") == "row"
    assert steps == ["db", "supabase", "cache"]
    steps.clear()
    assert await read("new") == await read("new") == "generated"
    assert steps == ["db", "generate", "generation", "cache"]
    assert await CacheManager.ttl("x", "new", "acme") == 3600


async def test_a_3_2_implementacion_unificada(cache: Cache) -> None:
    async def fetch_agent_from_db(resource_id: str, tenant_id: str, **kwargs: Any) -> Any:
        return {"id": resource_id, **kwargs}

    async def call() -> Any:
        return await get_with_cache_aside(
            data_type="agent_config",  # Tipo de datos
            resource_id=agent_id,  # ID del recurso
            tenant_id=tenant_id,  # ID del tenant
            fetch_from_db_func=fetch_agent_from_db,  # Función para obtener de DB
            generate_func=None,  # Función para generar (opcional)
            agent_id=agent_id,  # Contexto adicional
            conversation_id=None,  # Contexto adicional
            collection_id=None,  # Contexto adicional
            ttl=TTL_STANDARD,  # TTL personalizado (opcional)
        )

    result, metrics = await call()
    context = {"agent_id": agent_id, "conversation_id": None, "collection_id": None, "ctx": None}
    assert result == {"id": agent_id, **context}
    assert metrics["source"] == "supabase"
    await settled()
    assert await call() == (result, {**metrics, "source": "cache", "cache_hit": True, "tier": "l1"})
    key = {"tenant_id": tenant_id, "agent_id": agent_id}
    assert await CacheManager.ttl("agent_config", agent_id, **key) == TTL_STANDARD


async def test_a_3_3_metricas_proporcionadas(cache: Cache, clock: ManualClock) -> None:
    documented = {
        "source": "cache",  # Fuente del dato (cache, supabase, generation)
        "cache_hit": True,  # Si se encontró en caché
        "cache_check_time_ms": 5.2,  # Tiempo para verificar caché
        "db_check_time_ms": 0,  # Tiempo para verificar DB (si aplica)
        "generation_time_ms": 0,  # Tiempo para generar (si aplica)
        "total_time_ms": 5.2,  # Tiempo total de la operación
        "data_type": "agent_config",  # Tipo de datos procesado
        "resource_id": "agent123",  # ID del recurso
    }

    async def fetch(resource_id: str) -> None:
        clock.advance(0.030)

    async def generate(resource_id: str) -> str:
        clock.advance(0.200)
        return "made"

    _, metrics = await get_with_cache_aside("agent_config", "agent123", "acme", fetch, generate)
    assert metrics["db_check_time_ms"] == pytest.approx(30)
    assert metrics["generation_time_ms"] == pytest.approx(200)
    assert metrics["total_time_ms"] == pytest.approx(230)
    await settled()
    _, metrics = await get_with_cache_aside("agent_config", "agent123", "acme", fetch, generate)
    timed = {"cache_check_time_ms": 5.2, "total_time_ms": 5.2}
    assert {**metrics, **timed, "tier": "l1", "stale": False, "coalesced": False} == {
        **documented, "tier": "l1", "stale": False, "coalesced": False,
    }  # fmt: skip
    assert metrics["cache_check_time_ms"] == metrics["total_time_ms"]


# --- 4 ------------------------------------------------------------------------------------------


async def test_a_4_1_recursos_principales(cache: Cache) -> None:
    state = generate_resource_id_hash("agent123", "conv_1", "exec_1")
    for data_type, resource_id, ttl in [
        ("agent_config", "agent123", TTL_STANDARD),
        ("agent_tools", "agent123", TTL_STANDARD),
        ("agent_tools", "tool_1", TTL_STANDARD),
        ("conversation_memory", "conv_1", TTL_EXTENDED),
        ("conversation_message", "msg_1", TTL_EXTENDED),
        ("agent_execution_state", state, TTL_SHORT),
    ]:
        await get_with_cache_aside(data_type, resource_id, "acme", lambda: "value")
        await settled()
        assert await CacheManager.ttl(data_type, resource_id, "acme") == ttl


async def test_a_4_2_ejemplo_para_agentes(cache: Cache, database: Database) -> None:
    for tenant in ("acme", "globex"):
        await database.insert("agents", id="a1", tenant_id=tenant, name=tenant, temperature=0.5)
    row = {"id": "a1", "tenant_id": "acme", "name": "acme", "temperature": 0.5}
    assert await service.get_agent_config("a1", "acme") == row
    await settled()
    assert await service.get_agent_config("a1", "acme") == row
    assert database.asked == ["agents"]
    assert (await service.get_agent_config("a1", "globex"))["name"] == "globex"
    assert await CacheManager.ttl("agent_config", "a1", "acme") == TTL_STANDARD
    # An agent that is not there is None, and found as soon as it is.
    assert await service.get_agent_config("a2", "acme") is None
    await settled()
    await database.insert("agents", id="a2", tenant_id="acme", name="new", temperature=1)
    assert (await service.get_agent_config("a2", "acme"))["name"] == "new"


async def test_a_4_2_ejemplo_para_agentes_many_at_once(cache: Cache, database: Database) -> None:
    await database.insert("agents", id="a1", tenant_id="acme", name="Ana", temperature=0.5)
    configs = await asyncio.gather(*[service.get_agent_config("a1", "acme") for _ in range(50)])
    assert {config["name"] for config in configs} == {"Ana"}
    assert database.asked == ["agents"]


ROW = """
    SELECT 'a1' AS id, 'acme' AS tenant_id, '6f1c0d9e-0000-4000-8000-000000000001'::uuid AS uid,
    now() AS created_at, current_date AS day, localtime AS hour, interval '1 day 2 hours' AS pause,
    1.50::numeric AS price, 0.1::float4 AS temperature, 9223372036854775807 AS serial,
    '{"tools": ["search"]}'::jsonb AS settings, ARRAY['a', 'b'] AS tags, '\\x00ff'::bytea AS avatar,
    true AS active, null::text AS note, 'infinity'::timestamptz AS ends_at
"""


async def test_a_4_2_ejemplo_para_agentes_with_columns_of_every_type(
    make_cache: MakeCache, database: Database, tiers: str
) -> None:
    """A row comes back from every tier with the very values that the driver gave it."""
    row = dict(await database.pool.fetchrow(ROW))
    here, there = make_cache(), make_cache()
    found = []
    for cache in (here, here, *([] if tiers == "memory" else [there])):
        CacheManager.configure(cache)
        value, metrics = await get_with_cache_aside("agent_config", "a1", "acme", lambda: row)
        await settled()
        assert (value, list(value)) == (row, list(row))
        found.append(metrics["tier"])
    below = {"memory": [], "sqlite": ["l3"], "redis and sqlite": ["l2"]}
    assert found == [None, "l1", *below[tiers]]
    CacheManager.configure(None)


async def test_a_4_3_ejemplo_para_memoria(cache: Cache, database: Database) -> None:
    await database.insert("messages", id="m1", tenant_id="acme", conversation_id="c1", content="hi")
    assert await service.get_conversation_memory("acme", "c1", "a1") == {"messages": ["hi"]}
    created, again = await asyncio.gather(
        *[service.get_conversation_memory("acme", "c2", "a1") for _ in range(2)]
    )
    metadata = created["metadata"]
    assert created == again == {"messages": [], "metadata": metadata}
    assert (metadata["tenant_id"], metadata["conversation_id"], metadata["agent_id"]) == (
        "acme", "c2", "a1",
    )  # fmt: skip
    await settled()
    # It is the one memory of the conversation, whoever asks, not one made anew.
    assert await service.get_conversation_memory("acme", "c2") == created
    assert (await service.get_conversation_memory("globex", "c2"))["metadata"]["tenant_id"] == (
        "globex"
    )
    where = {"tenant_id": "acme", "conversation_id": "c2"}
    assert await CacheManager.ttl("conversation_memory", "c2", **where) == TTL_EXTENDED


# --- 5, 6 ---------------------------------------------------------------------------------------


async def test_a_5_1_mapeo_de_ttls(cache: Cache) -> None:
    assert cascada.AGENT_SERVICE_TTL_MAPPING == service.AGENT_SERVICE_TTL_MAPPING
    for data_type, ttl in service.AGENT_SERVICE_TTL_MAPPING.items():
        await put(data_type, "r1")
        assert await CacheManager.ttl(data_type, "r1", "acme") == ttl


async def test_a_5_2_funcion_para_determinar_ttl() -> None:
    types = [*service.AGENT_SERVICE_TTL_MAPPING, *service.DEFAULT_TTL_MAPPING, "whatever"]
    assert {name: cascada.get_ttl_for_data_type(name) for name in types} == {
        name: service.get_ttl_for_data_type(name) for name in types
    }
    assert service.get_ttl_for_data_type("query_result") == TTL_SHORT
    assert service.get_ttl_for_data_type("whatever") == TTL_STANDARD


async def test_a_6_implementacion_de_metricas(cache: Cache) -> None:
    for hit, latency in ((True, 2.5), (True, 1.5), (False, 40.0)):
        await service.track_agent_cache_metrics("acme", "agent_config", "get", hit, latency, "a1")
    hits = tracked(cache, METRIC_CACHE_HIT, "agent_config")
    assert (hits.tenant, hits.count, hits.total) == ("acme", 2, 2)
    assert hits.metadata == {
        "operation": "get", "latency_ms": 1.5, "service": "agent", "agent_id": "a1",
    }  # fmt: skip
    assert tracked(cache, METRIC_CACHE_MISS, "agent_config").total == 1
    latency_of = tracked(cache, METRIC_LATENCY, "agent_config")
    assert (latency_of.count, latency_of.total) == (3, 44.0)
    assert latency_of.metadata == {"operation": "get", "service": "agent", "agent_id": "a1"}
    # What the section wants told apart, by type and tenant, the cache counts by itself.
    assert (await cache.stats()).total.hits == 0
    await get_with_cache_aside("agent_config", "a1", "acme", lambda: "v")
    await settled()
    await get_with_cache_aside("agent_config", "a1", "acme", lambda: "v")
    counted = (await cache.stats()).types["agent_config"]
    assert (counted.hits, counted.misses) == (1, 1)
