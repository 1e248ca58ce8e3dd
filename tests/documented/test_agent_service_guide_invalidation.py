"""Document A, sections 7 to 9: what an invalidation takes, what it advises, what it warns of."""

import json
import math
from typing import Any

import numpy
import pytest

import cascada
from cascada import (
    CACHE_TYPE_AGENT,
    CACHE_TYPE_CONVERSATION_MEMORY,
    METRIC_CACHE_INVALIDATION,
    METRIC_CACHE_INVALIDATION_COORDINATED,
    TTL_EXTENDED,
    TTL_SHORT,
    TTL_STANDARD,
    Cache,
    CacheManager,
    MissingTenant,
    Policy,
    generate_resource_id_hash,
    get_with_cache_aside,
)
from cascada.testing.clock import ManualClock
from tests.api.settled import settled
from tests.documented import agent_service_guide as service
from tests.documented.observed import put, there, tracked
from tests.documented.sections import without_a_test
from tests.documented.supabase import Database
from tests.scenarios.conftest import MakeCache

SECTIONS = [
    "7_1_invalidacion_de_agentes",
    "7_2_invalidacion_de_conversaciones",
    "8_1_uso_del_patron",
    "8_2_gestion_de_claves",
    "8_3_estrategias_de_ttl",
    "8_4_uso_de_memoria",
    "9_1_reimplementacion_manual",
    "9_2_estaticos_vs_instancia",
    "9_3_omision_de_tenant",
    "9_4_serializacion_manual",
    "9_5_ttl_hardcodeados",
]

tenant_id = "acme"


def test_every_section_has_its_test() -> None:
    assert without_a_test("a", SECTIONS, globals()) == []


# --- 7 ------------------------------------------------------------------------------------------


async def cached_agent(agent: str) -> None:
    """What the service caches of an agent, with and without naming it as context."""
    await put("agent", agent)
    await put("agent_config", agent)
    await put("agent_config", agent, agent_id=agent)
    await put("agent_tools", agent)
    await put("agent_execution_state", f"{agent}/c1/e1", agent_id=agent, conversation_id="c1")


async def cached_conversation(conversation: str, agent: str) -> None:
    await service.get_conversation_memory("acme", conversation, agent)
    for number in range(3):
        context = {"agent_id": agent, "conversation_id": conversation}
        await put("conversation_message", f"{conversation}-{number}", **context)
    await settled()


async def test_a_7_1_invalidacion_de_agentes(cache: Cache, database: Database) -> None:
    await database.insert("agents", id="a1", tenant_id="acme", name="old", temperature=0.5)
    assert (await service.get_agent_config("a1", "acme"))["name"] == "old"
    await settled()
    for agent in ("a1", "a2"):
        await cached_agent(agent)
    await database.update("agents", "a1", name="new")
    results = await service.invalidate_agent_cache_cascade("acme", "a1")
    assert results == {"agent": 1, "agent_config": 2, "agent_tools": 1, "conversations": 0}
    assert (await service.get_agent_config("a1", "acme"))["name"] == "new"
    assert not await there("agent_tools", "a1")
    assert await there("agent_config", "a2")
    assert await there("agent_tools", "a2")
    coordinated = tracked(cache, METRIC_CACHE_INVALIDATION_COORDINATED, "agent_cascade")
    assert coordinated.last == 4
    assert coordinated.metadata == {"agent_id": "a1", **results}


async def test_a_7_1_invalidacion_de_agentes_y_sus_conversaciones(
    cache: Cache, database: Database
) -> None:
    for conversation, agent in (("c1", "a1"), ("c2", "a1"), ("c3", "a2")):
        await database.insert("conversations", id=conversation, tenant_id="acme", agent_id=agent)
        await cached_conversation(conversation, agent)
    results = await service.invalidate_agent_cache_cascade("acme", "a1", True)
    assert results["conversations"] == 2
    for conversation, stays in (("c1", False), ("c2", False), ("c3", True)):
        context = {"conversation_id": conversation}
        assert await there("conversation_memory", conversation, **context) is stays
        assert await there("conversation_message", f"{conversation}-0", **context) is stays


async def test_a_7_1_invalidacion_de_agentes_de_la_biblioteca(cache: Cache) -> None:
    """cascada's function of that name counts the same, and takes the execution state, which the
    section's list has and its code forgets."""
    await cached_agent("a1")
    await cached_agent("a2")
    results = await cascada.invalidate_agent_cache_cascade("acme", "a1")
    assert results == {
        "agent": 1, "agent_config": 2, "agent_tools": 1, "execution_state": 1,
        "conversations": 0, "messages": 0,
    }  # fmt: skip
    for agent, stays in (("a1", False), ("a2", True)):
        where = {"agent_id": agent, "conversation_id": "c1"}
        assert await there("agent_execution_state", f"{agent}/c1/e1", **where) is stays
    coordinated = tracked(cache, METRIC_CACHE_INVALIDATION_COORDINATED, "agent_cascade")
    assert (coordinated.last, coordinated.metadata) == (5, {"agent_id": "a1", **results})


@pytest.mark.parametrize(
    "invalidate", [service.invalidate_conversation_cache, cascada.invalidate_conversation_cache]
)
@pytest.mark.parametrize("agent", ["a1", None])
async def test_a_7_2_invalidacion_de_conversaciones(
    cache: Cache, database: Database, invalidate: Any, agent: str | None
) -> None:
    for conversation in ("c1", "c2"):
        await cached_conversation(conversation, "a1")
    assert await invalidate(tenant_id="acme", conversation_id="c1", agent_id=agent) == 4
    for conversation, stays in (("c1", False), ("c2", True)):
        context = {"agent_id": "a1", "conversation_id": conversation}
        assert await there("conversation_memory", conversation, **context) is stays
        assert await there("conversation_message", f"{conversation}-2", **context) is stays
    series = tracked(cache, METRIC_CACHE_INVALIDATION, "conversation")
    assert (series.last, series.metadata["conversation_id"]) == (4, "c1")
    assert series.metadata.get("agent_id") == agent


# --- 8 ------------------------------------------------------------------------------------------


async def test_a_8_1_uso_del_patron(cache: Cache) -> None:
    """A source that fails is heard by who asked, and by nobody after it."""
    answers: list[Any] = [ConnectionError("no database"), None, {"n": 1}]

    async def fetch_from_db(resource_id: str, tenant_id: str, **kwargs: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def generate(resource_id: str, tenant_id: str, **kwargs: Any) -> Any:
        raise ValueError("cannot be made")

    with pytest.raises(ConnectionError, match="no database"):
        await get_with_cache_aside("x", "r1", "acme", fetch_from_db, generate)
    with pytest.raises(ValueError, match="cannot be made"):
        await get_with_cache_aside("x", "r1", "acme", fetch_from_db, generate)
    value, metrics = await get_with_cache_aside("x", "r1", "acme", fetch_from_db, generate)
    assert (value, metrics["source"], answers) == ({"n": 1}, "supabase", [])


async def test_a_8_2_gestion_de_claves(cache: Cache) -> None:
    assert (CACHE_TYPE_AGENT, CACHE_TYPE_CONVERSATION_MEMORY) == ("agent", "conversation_memory")
    # The same object has the same id, in whatever order its parts are named.
    filters = {"lang": "es", "tags": ["a", "b"]}
    resource_id = generate_resource_id_hash("query", filters, top_k=4)
    assert resource_id == generate_resource_id_hash(
        "query", dict(reversed(filters.items())), top_k=4
    )
    assert resource_id != generate_resource_id_hash("query", filters, top_k=5)
    await put(CACHE_TYPE_AGENT, resource_id, agent_id="a1", conversation_id="c1")
    assert await there(CACHE_TYPE_AGENT, resource_id, agent_id="a1", conversation_id="c1")
    assert not await there(CACHE_TYPE_AGENT, resource_id, agent_id="a1", conversation_id="c2")


async def test_a_8_3_estrategias_de_ttl(cache: Cache, clock: ManualClock) -> None:
    for ttl in (TTL_SHORT, TTL_STANDARD, TTL_EXTENDED):
        assert await CacheManager.set("x", ttl, "v", "acme", ttl=ttl)
    for ttl, stay in ((TTL_SHORT, 2), (TTL_STANDARD, 1), (TTL_EXTENDED, 0)):
        clock.advance(ttl + 1)
        found = [await CacheManager.get("x", each, "acme") for each in (300, 3600, 86400)]
        assert found == [None] * (3 - stay) + ["v"] * stay


async def test_a_8_4_uso_de_memoria(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    """Sizes are known; what is over its type's threshold is told, counted, and kept for less."""
    policy = Policy(bulky_bytes=10_000, bulky_ttl=TTL_SHORT)
    cache = make_cache(policies={"agent_tools": policy})
    CacheManager.configure(cache)
    sizes = [(await cache.stats()).tiers["l1"].size_bytes]
    for resource_id, numbers in (("small", 10), ("large", 10_000)):
        value = numpy.random.default_rng(1).random(numbers)
        await CacheManager.set("agent_tools", resource_id, value, "acme")
        sizes.append((await cache.stats()).tiers["l1"].size_bytes)
    assert 80 <= sizes[1] - sizes[0] < 5000
    assert 80_000 <= sizes[2] - sizes[1] < 200_000
    assert await CacheManager.ttl("agent_tools", "small", "acme") == TTL_STANDARD
    assert await CacheManager.ttl("agent_tools", "large", "acme") == TTL_SHORT
    counted = (await cache.stats()).types["agent_tools"]
    assert (counted.stored, counted.bulky) == (2, 1)
    assert counted.stored_bytes == pytest.approx(80_080, rel=0.01)
    assert "acme:agent_tools:large has 8" in caplog.text
    CacheManager.configure(None)


# --- 9 ------------------------------------------------------------------------------------------


async def test_a_9_1_reimplementacion_manual(cache: Cache, database: Database) -> None:
    """By hand it works too, and stores nothing old; but a value that is empty is read again."""
    data_type, resource_id, rows = "x", "r1", {"r1": {}, "r2": {"n": 1}}
    fetched: list[str] = []

    async def fetch_from_db(resource_id: str, tenant_id: str) -> Any:
        fetched.append(resource_id)
        return rows.get(resource_id)

    async def by_hand(resource_id: str, between: Any = None) -> Any:
        # ❌ INCORRECTO: Reimplementación manual
        value = await CacheManager.get(data_type, resource_id, tenant_id)
        if not value:
            value = await fetch_from_db(resource_id, tenant_id)
            if between is not None:
                await between
            if value:
                await CacheManager.set(data_type, resource_id, value, tenant_id)
        return value

    assert await by_hand("r2") == await by_hand("r2") == {"n": 1}
    assert fetched == ["r2"]
    await CacheManager.invalidate("acme", "x", "r2")
    between = CacheManager.invalidate("acme", "x", "r2")
    assert await by_hand("r2", between) == {"n": 1}
    assert await CacheManager.get("x", "r2", "acme") is None

    fetched.clear()
    for _ in range(2):
        # ✅ CORRECTO: Uso del patrón centralizado
        value, metrics = await get_with_cache_aside(
            data_type=data_type,
            resource_id=resource_id,
            tenant_id=tenant_id,
            fetch_from_db_func=fetch_from_db,
        )
        await settled()
        assert value == {}
    assert (metrics["source"], fetched) == ("cache", ["r1"])


async def test_a_9_2_estaticos_vs_instancia(cache: Cache) -> None:
    list_name, value = "tasks", "first"
    # ❌ INCORRECTO: Llamar método de instancia como estático
    with pytest.raises(TypeError, match=r"call CacheManager\.get_instance\(\)\.rpush\(\.\.\.\)"):
        await CacheManager.rpush(list_name, value, tenant_id)  # Error: no existe como estático

    # ✅ CORRECTO: Uso de métodos de instancia para listas
    assert await CacheManager.get_instance().rpush(list_name, value, tenant_id) == 1


async def test_a_9_3_omision_de_tenant(cache: Cache) -> None:
    data_type, resource_id = "x", "r1"
    await put(data_type, resource_id)
    # ❌ INCORRECTO: Omitir tenant_id
    with pytest.raises(MissingTenant, match="there is no default"):
        await CacheManager.get(data_type, resource_id)  # Puede causar fugas de datos

    # ✅ CORRECTO: Proporcionar siempre tenant_id
    assert await CacheManager.get(data_type, resource_id, tenant_id=tenant_id) == {"v": 1}


async def test_a_9_4_serializacion_manual(cache: Cache) -> None:
    key, embedding = "e1", numpy.array([0.1, -2.5, math.pi])
    # ❌ INCORRECTO: Serialización manual de embeddings
    embedding_json = json.dumps(embedding.tolist())
    await CacheManager.set("embedding", key, embedding_json, tenant_id)
    assert await CacheManager.get("embedding", key, tenant_id) == embedding_json  # a text

    # ✅ CORRECTO: Usar serializadores especializados
    await CacheManager.set("embedding", key, embedding, tenant_id)  # Usa serializer interno
    assert await CacheManager.get("embedding", key, tenant_id) == embedding.tolist()


async def test_a_9_5_ttl_hardcodeados(cache: Cache) -> None:
    data_type, resource_id, value = "agent_execution_state", "r1", "running"
    # ❌ INCORRECTO: TTL hardcodeado
    await CacheManager.set(data_type, resource_id, value, tenant_id, ttl=3600)
    assert await CacheManager.ttl(data_type, resource_id, tenant_id) == 3600

    # ✅ CORRECTO: Usar constantes de TTL
    from cascada import TTL_STANDARD

    await CacheManager.set(data_type, resource_id, value, tenant_id, ttl=TTL_STANDARD)
    assert await CacheManager.ttl(data_type, resource_id, tenant_id) == 3600

    # ✅ MEJOR: Usar función específica por tipo
    ttl = service.get_ttl_for_data_type(data_type)
    await CacheManager.set(data_type, resource_id, value, tenant_id, ttl=ttl)
    assert await CacheManager.ttl(data_type, resource_id, tenant_id) == TTL_SHORT
